from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.problems import Problem
from pipeline.choices import JobState
from pipeline.models import PipelineRun
from pipeline.storage import purging
from pipeline.storage.purging import Purged


class Command(BaseCommand):
    """Purge the raw data behind what runs have published, or only say what would go."""

    help = "Replaces a collection's raw records and images by their verified redacted twins."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--run", type=UUID, metavar="ID", help="Only what this run published.")
        parser.add_argument("--dry-run", action="store_true", help="Purge nothing; print what would go.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        runs = PipelineRun.objects.filter(collection__slug=options["slug"], state=JobState.SUCCEEDED)
        if options["run"]:
            runs = runs.filter(pk=options["run"])
        chosen = list(runs.select_related("collection__action_space").order_by("created_at"))
        if not chosen:
            raise CommandError(f"There is no published run of {options['slug']}.")
        if options["dry_run"]:
            for run in chosen:
                found = purging.preview(run)
                self.stdout.write(
                    f"{run.pk}: would purge {found.records} records, {found.pictures} pictures; {found.purged} are "
                    f"purged, {found.waiting} wait in quarantine"
                )
            return
        if not options["yes"]:
            answer = input(f"This deletes raw data behind {len(chosen)} runs for good. Type {options['slug']}: ")
            if answer != options["slug"]:
                raise CommandError("Nothing was purged.")
        for run in chosen:
            try:
                purged = purging.purge(run, self._tell)
            except Problem as problem:
                raise CommandError(problem.detail) from problem
            left = ", ".join(f"{reason} {count}" for reason, count in sorted(purged.left.items())) or "none"
            gone = f"{purged.records} records, {purged.objects} objects, {purged.bytes} bytes"
            self.stdout.write(f"{run.pk}: purged {gone}; left: {left}")

    def _tell(self, so_far: Purged) -> None:
        """After each batch; only a terminal is told."""
        if sys.stderr.isatty():
            self.stderr.write(f"\r{so_far.records} records, {so_far.objects} objects", ending="")
