from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from collections_app.models import Collection
from core.problems import Problem
from inference.models import InferenceResult
from pipeline.storage import deletion


class Command(BaseCommand):
    """Delete records for good, with every run and export that may hold them."""

    help = "Erases records from every table, object, index, cache, run and export of a collection."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        chosen = parser.add_mutually_exclusive_group(required=True)
        chosen.add_argument("--request", type=UUID, nargs="+", metavar="ID", help="Request ids.")
        chosen.add_argument("--result", type=UUID, nargs="+", metavar="ID", help="Result ids; archived ones too.")
        chosen.add_argument("--episode", metavar="NAME", help="Every record of an episode.")
        chosen.add_argument("--robot", metavar="NAME", help="Every record of a robot.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        collection = Collection.objects.filter(slug=options["slug"]).first()
        if collection is None:
            raise CommandError(f"There is no collection {options['slug']}.")
        identifiers = options["result"] or self._results(collection, options)
        if not options["yes"]:
            answer = input(f"This deletes {len(identifiers)} records of {collection.slug} for good. Type its slug: ")
            if answer != collection.slug:
                raise CommandError("Nothing was deleted.")
        try:
            deleted = deletion.erase(collection, identifiers)
        except Problem as problem:
            raise CommandError(problem.detail) from problem
        self.stdout.write(f"Erased {deleted.records} records, {deleted.objects} objects, {deleted.bytes} bytes.")

    def _results(self, collection: Collection, options: dict[str, Any]) -> list[UUID]:
        lookups = {
            "request_id__in": options["request"],
            "episode__external_id": options["episode"],
            "robot__name": options["robot"],
        }
        given = {lookup: value for lookup, value in lookups.items() if value}
        return list(InferenceResult.objects.filter(collection=collection, **given).values_list("pk", flat=True))
