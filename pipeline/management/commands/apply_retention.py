from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from pipeline.models import RetentionRule
from pipeline.storage import retention
from pipeline.storage.deletion import Deleted


class Command(BaseCommand):
    """Do what the retention rules say, now, or only say what they would do."""

    help = "Applies the retention rules."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--collection", help="Only this collection's rules.")
        parser.add_argument("--dry-run", action="store_true", help="Delete nothing; print what would go.")

    def handle(self, *args: Any, **options: Any) -> None:
        rules = RetentionRule.objects.filter(enabled=True).select_related("collection")
        if options["collection"]:
            rules = rules.filter(collection__slug=options["collection"])
        for rule in rules:
            found = retention.preview(rule) if options["dry_run"] else retention.apply(rule, self._tell)
            verb = "would remove" if options["dry_run"] else "removed"
            self.stdout.write(
                f"{rule.collection.slug}: {rule}: {verb} {found.records} records, {found.objects} objects, "
                f"{found.bytes} bytes"
            )

    def _tell(self, so_far: Deleted) -> None:
        """After each batch; only a terminal is told."""
        if sys.stderr.isatty():
            self.stderr.write(f"\r{so_far.records} records, {so_far.objects} objects", ending="")
