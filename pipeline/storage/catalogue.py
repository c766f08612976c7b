"""The catalogue: one row per object that the pipeline wrote, with its size and SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from core import object_store
from core.object_store import StoredBlob
from pipeline.choices import ObjectKind
from pipeline.models import StoredObject


class CorruptObjectError(Exception):
    """An object does not read back as it was written."""


def store(key: str, data: bytes, *, kind: ObjectKind, **owners: Any) -> StoredObject:
    """Write ``data`` under ``key`` and enter it; writing the same key again replaces object and entry.

    ``owners`` are the entry's ``collection``, ``run`` and ``export``.
    """
    return _enter(object_store.put(key, data), kind, owners)


def store_file(key: str, path: Path, *, kind: ObjectKind, **owners: Any) -> StoredObject:
    """``store`` for a file of any size."""
    return _enter(object_store.put_file(key, path), kind, owners)


def verify(entry: StoredObject) -> None:
    """Read the object back. Raises ``CorruptObjectError`` where its size or SHA-256 is not the entry's."""
    digest = hashlib.sha256()
    size = 0
    with object_store.open(entry.key) as source:
        while block := source.read(1 << 20):
            digest.update(block)
            size += len(block)
    if size != entry.bytes or digest.hexdigest() != entry.sha256:
        raise CorruptObjectError(f"{entry.key} does not hold what was written to it.")


def _enter(blob: StoredBlob, kind: ObjectKind, owners: dict[str, Any]) -> StoredObject:
    entry, _created = StoredObject.objects.update_or_create(
        key=blob.key, defaults={"kind": kind, "bytes": blob.bytes, "sha256": blob.sha256, **owners}
    )
    return entry
