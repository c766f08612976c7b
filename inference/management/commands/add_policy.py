"""``manage.py add_policy NAME@VERSION --backend BACKEND``: register a policy version, and put it to work."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from collections_app.models import Collection
from inference import services
from inference.exceptions import PolicyError
from inference.models import PolicyVersion
from inference.policies.handler import backends, create_policy
from inference.policies.python import PythonPolicy


class Command(BaseCommand):
    help = "Register a policy version; with --collection deploy it, with --activate give it all of the traffic."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME@VERSION")
        parser.add_argument("--backend", required=True, help=f"One of: {', '.join(backends.names)}.")
        parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
        parser.add_argument("--collection", metavar="SLUG")
        parser.add_argument("--activate", action="store_true", help="All of the collection's traffic goes to it.")
        parser.add_argument("--shadow", action="store_true", help="It sees every observation and is never heard.")
        parser.add_argument(
            "--sha256", default="", help="The checkpoint's SHA-256 (docs/policies.md), checked at load."
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        name, separator, version = options["name"].partition("@")
        if not separator or not version:
            raise CommandError("Give the policy as NAME@VERSION, for example pick-place@1.")
        if options["activate"] and not options["collection"]:
            raise CommandError("--activate needs --collection.")
        try:
            with transaction.atomic():
                registered = self._registered(name, version, options)
                deployed = self._deploy(registered, options)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        except PolicyError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{registered} is registered{deployed}.")

    def _registered(self, name: str, version: str, options: dict[str, Any]) -> PolicyVersion:
        parsed = services.parse_options(options["option"])
        known = PolicyVersion.objects.filter(name=name, version=version).first()
        if known is None:
            self._check_options(options["backend"], parsed)
            return services.register_version(
                name=name,
                version=version,
                backend=options["backend"],
                options=parsed,
                checkpoint_sha256=options["sha256"],
            )
        if (known.backend, known.options) != (options["backend"], parsed):
            raise CommandError(f"{known} is registered with another backend or other options. Use a new version.")
        return known

    def _check_options(self, backend: str, options: dict[str, str]) -> None:
        """Refuse now what the worker would refuse later. A user's own module need only be importable there."""
        if backend in backends.names and backend != PythonPolicy.backend:
            create_policy(backend, {name: value for name, value in options.items() if name != "max_batch"})

    def _deploy(self, registered: PolicyVersion, options: dict[str, Any]) -> str:
        if not options["collection"]:
            return ""
        collection = Collection.objects.filter(slug=options["collection"]).first()
        if collection is None:
            raise CommandError(f"There is no collection '{options['collection']}'.")
        if options["activate"]:
            services.activate(policy_version=registered, collection=collection)
            return f" and has all of the traffic of {collection.slug}"
        role = "shadow" if options["shadow"] else "active"
        services.deploy(policy_version=registered, collection=collection, role=role)
        return f" and is {role} on {collection.slug}"
