from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts.choices import SCOPES
from accounts.models import RateLimitTier
from accounts.services import create_api_key
from collections_app.models import Collection
from collections_app.services import grant_api_key


class Command(BaseCommand):
    help = "Create an API key for a collection and print it. It is shown this once; only a keyed hash is stored."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="What uses it, e.g. arm-07.")
        parser.add_argument("--collection", action="append", required=True, metavar="SLUG", help="May be repeated.")
        parser.add_argument(
            "--scopes",
            default=",".join(SCOPES),
            help="Comma-separated, from: %(default)s. All of them unless given.",
        )
        parser.add_argument("--tier", default="standard", help="A rate-limit tier; standard unless given.")
        parser.add_argument("--network", action="append", default=[], metavar="CIDR", help="Only from there.")
        parser.add_argument("--expires-in-days", type=int, metavar="DAYS", help="Never unless given.")

    def handle(self, **options: Any) -> None:
        self.stdout.write(self._create(**options))

    @transaction.atomic
    def _create(
        self,
        *,
        name: str,
        collection: list[str],
        scopes: str,
        tier: str,
        network: list[str],
        expires_in_days: int | None,
        **_options: Any,
    ) -> str:
        collections = [self._find(Collection, slug=slug) for slug in collection]
        try:
            api_key, token = create_api_key(
                name=name,
                scopes=[scope.strip() for scope in scopes.split(",") if scope.strip()],
                tier=self._find(RateLimitTier, name=tier),
                allowed_networks=network,
                expires_at=timezone.now() + timedelta(days=expires_in_days) if expires_in_days else None,
            )
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        for granted in collections:
            grant_api_key(api_key=api_key, collection=granted)
        return token

    def _find(self, model: Any, **lookup: str) -> Any:
        found = model.objects.filter(**lookup).first()
        if found is None:
            known = ", ".join(sorted(model.objects.values_list(*lookup, flat=True)[:20]))
            (value,) = lookup.values()
            raise CommandError(f"There is no {model._meta.verbose_name} named {value}. There are: {known or 'none'}.")
        return found
