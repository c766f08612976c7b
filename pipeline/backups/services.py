"""Making and restoring backups."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import orjson
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts import audit
from core import object_store
from pipeline.backups import database
from pipeline.choices import ObjectKind
from pipeline.models import StoredObject
from pipeline.storage import catalogue, deletion, layout, purging
from pipeline.storage.deletion import Deleted


def back_up() -> StoredObject:
    """Dump the database and describe the configuration beside it; read back what was written. A day has one backup.

    The configuration is names and versions, no secret: those are the operator's to keep, and without SECRET_KEY and
    FIELD_ENCRYPTION_KEYS a restored database cannot be read in full. Raises ``BackupError``.
    """
    now = timezone.now()
    with tempfile.TemporaryDirectory(prefix="backup.") as temporary:
        path = Path(temporary, "database.dump")
        database.dump(path)
        entry = catalogue.store_file(layout.backup_key(now), path, kind=ObjectKind.BACKUP)
    catalogue.verify(entry)
    description = orjson.dumps(_configuration(entry), option=orjson.OPT_INDENT_2)
    catalogue.store(layout.backup_settings_key(now), description, kind=ObjectKind.BACKUP)
    audit.record("backup.made", entry, changes={"bytes": [None, entry.bytes]})
    delete_old(older_than=now - timedelta(days=settings.BACKUP_DAYS))
    return entry


def delete_old(*, older_than: datetime) -> int:
    """Delete backups of days before ``older_than``, whose names say when they were made; never the newest dump, never
    one under legal hold. Returns how many objects went. Audited.

    Asks storage rather than the catalogue, which a restored backup has set back.
    """
    newest = newest_backup()
    spared = {newest, None if newest is None else _description_key(newest)}
    held = set(StoredObject.objects.filter(kind=ObjectKind.BACKUP, legal_hold=True).values_list("key", flat=True))
    old = [
        info.key
        for info in object_store.list("backups/")
        if info.key not in spared | held and (day := layout.backup_day(info.key)) and day < older_than.date()
    ]
    if old:
        object_store.delete(old)
        entries = StoredObject.objects.filter(key__in=old)
        if (first := entries.first()) is not None:
            audit.record("backup.expired", first, changes={"objects": [len(old), 0]})
        entries.delete()
    return len(old)


def restore(key: str) -> Deleted:
    """Replace the database's content by the backup under ``key``, all or nothing; then erase again what was erased
    after it was made, and return how much that was; raw data that was purged is purged again.

    Raises ``FileNotFoundError``, ``catalogue.CorruptObjectError`` where the bytes are not those that were written,
    ``BackupError``.
    """
    expected = _expected_sha256(key)
    with tempfile.TemporaryDirectory(prefix="restore.") as temporary:
        path = Path(temporary, "database.dump")
        digest = hashlib.sha256()
        with object_store.open(key) as source, path.open("wb") as target:
            while block := source.read(1 << 20):
                digest.update(block)
                target.write(block)
        if expected is not None and digest.hexdigest() != expected:
            raise catalogue.CorruptObjectError(f"{key} does not hold what was written to it.")
        database.restore(path)
    deleted = deletion.erase_again()
    purging.purge_again()
    return deleted


def newest_backup() -> str | None:
    """The key of the newest dump in storage; None where there is none."""
    dumps = [info.key for info in object_store.list("backups/") if info.key.endswith(".dump")]
    return max(dumps, default=None)


def _expected_sha256(key: str) -> str | None:
    """From the description beside the dump: the catalogue is in the database that is being replaced."""
    try:
        return str(orjson.loads(object_store.get(_description_key(key)))["sha256"])
    except FileNotFoundError:
        return None


def _description_key(key: str) -> str:
    return key.replace("db_backup_", "configuration_").replace(".dump", ".json")


def _configuration(entry: StoredObject) -> dict[str, object]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extname, extversion FROM pg_extension ORDER BY extname")
        extensions = dict(cursor.fetchall())
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY app, name")
        migrations = [f"{app}.{name}" for app, name in cursor.fetchall()]
    return {
        "dump": entry.key,
        "sha256": entry.sha256,
        "bytes": entry.bytes,
        "code_version": settings.VERSION,
        "postgresql": database.server_version(),
        "extensions": extensions,
        "migrations": migrations,
        "secrets_to_keep_elsewhere": ["SECRET_KEY", "API_KEY_PEPPER", "FIELD_ENCRYPTION_KEYS"],
    }
