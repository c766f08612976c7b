from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from pipeline.backups import services
from pipeline.backups.database import BackupError
from pipeline.storage.catalogue import CorruptObjectError


class Command(BaseCommand):
    """Replace the database's content by a backup."""

    help = "Restores the database from a backup in object storage. Stop the workers first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", nargs="?", help="The backup's key; without it the newest.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")

    def handle(self, *args: Any, **options: Any) -> None:
        key = options["key"] or services.newest_backup()
        if key is None:
            raise CommandError("There is no backup in storage.")
        name = connection.settings_dict["NAME"]
        if not options["yes"]:
            answer = input(f"This replaces everything in the database {name} by {key}. Type the database's name: ")
            if answer != name:
                raise CommandError("Nothing was changed.")
        try:
            erased = services.restore(key)
        except (BackupError, CorruptObjectError, FileNotFoundError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Restored {key}.")
        if erased.records:
            self.stdout.write(f"{erased.records} records that were erased since then were erased again.")
