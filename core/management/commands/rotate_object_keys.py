from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core import object_encryption, object_store


class Command(BaseCommand):
    help = (
        "Encrypt every object that is plain, or under an older key, with the first of OBJECT_ENCRYPTION_KEYS. Put the "
        "new key first, restart, run this while no pipeline run or export is going on, then remove the old key."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--prefix", default="", help="only objects below this folder, e.g. raw/2026-11-22/")

    def handle(self, *, prefix: str, **_options: Any) -> None:
        if not object_encryption.is_on():
            raise CommandError("OBJECT_ENCRYPTION_KEYS is empty: there is no key to encrypt with.")
        count = rotated = 0
        for info in object_store.list(prefix):
            count += 1
            rotated += _rotate(info)
        self.stdout.write(f"{rotated} of {count} objects encrypted anew")


def _rotate(info: object_store.ObjectInfo) -> bool:
    """Whether the object was written anew; one that is deleted or replaced meanwhile is left alone."""
    try:
        with object_store.open_stored(info.key) as stored:
            header = stored.read(object_encryption.HEADER_BYTES)
            if object_encryption.is_current(header):
                return False
            stored.seek(0)
            plain = object_encryption.opened(info.key, stored) if object_encryption.is_encrypted(header) else stored
            with tempfile.NamedTemporaryFile() as copy:
                shutil.copyfileobj(plain, copy, 1 << 20)
                copy.flush()
                if _is_unchanged(info):
                    object_store.put_file(info.key, Path(copy.name))
                    return True
    except FileNotFoundError:
        pass
    return False


def _is_unchanged(info: object_store.ObjectInfo) -> bool:
    with object_store.open_stored(info.key) as now:
        now.seek(0, 2)
        return now.tell() == info.bytes
