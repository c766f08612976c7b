from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from pipeline.backups import services
from pipeline.backups.database import BackupError


class Command(BaseCommand):
    """Back up the database to object storage, now."""

    help = "Backs up the database to object storage."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            entry = services.back_up()
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{entry.key}  {entry.bytes} bytes  sha256 {entry.sha256}")
