"""The catalogue: one row per object that the pipeline wrote, with its size and SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from core import object_store
from core.object_store import Block, StoredBlob
from pipeline.choices import ObjectKind
from pipeline.models import StoredObject

# Files in transfer at a time; each large one is itself cut into parts that go in parallel (core.object_store).
TRANSFERS = 4


class CorruptObjectError(Exception):
    """An object does not read back as it was written."""


def store(key: str, data: bytes, *, kind: ObjectKind, **owners: Any) -> StoredObject:
    """Write ``data`` under ``key`` and enter it; writing the same key again replaces object and entry.

    ``owners`` are the entry's ``collection``, ``run`` and ``export``.
    """
    return enter(object_store.put(key, data), kind, **owners)


def store_file(key: str, path: Path, *, kind: ObjectKind, **owners: Any) -> StoredObject:
    """``store`` for a file of any size."""
    return enter(object_store.put_file(key, path), kind, **owners)


def store_blocks(key: str, blocks: Iterable[Block], *, kind: ObjectKind, **owners: Any) -> StoredObject:
    """``store`` for what is made piece by piece, of any size."""
    return enter(object_store.put_blocks(key, blocks), kind, **owners)


def store_folder(
    prefix: str, folder: Path, *, kind: ObjectKind, progress: Callable[[float], None], **owners: Any
) -> list[StoredObject]:
    """Store every file below ``folder`` under ``prefix`` and read it back, ``TRANSFERS`` at a time.

    ``progress`` is told the share of the bytes that are safe. Entries are in the order of keys. Raises
    ``CorruptObjectError``.
    """
    paths = sorted(file for file in folder.rglob("*") if file.is_file())
    total = sum(path.stat().st_size for path in paths) or 1
    entries: list[StoredObject] = []
    done = 0
    with ThreadPoolExecutor(max_workers=TRANSFERS, thread_name_prefix="transfer") as pool:
        keys = [prefix + path.relative_to(folder).as_posix() for path in paths]
        try:
            for blob in pool.map(_transfer, keys, paths):
                entries.append(enter(blob, kind, **owners))
                done += blob.bytes
                progress(done / total)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return entries


def enter(blob: StoredBlob, kind: ObjectKind, **owners: Any) -> StoredObject:
    """The entry of an object that is there already; see ``store``."""
    entry, _created = StoredObject.objects.update_or_create(
        key=blob.key, defaults={"kind": kind, "bytes": blob.bytes, "sha256": blob.sha256, **owners}
    )
    return entry


def discard(keys: Sequence[str]) -> None:
    """Remove objects and their entries; those that are already gone are no error."""
    object_store.delete(keys)
    StoredObject.objects.filter(key__in=keys).delete()


def verify(entry: StoredObject) -> None:
    """Read the object back. Raises ``CorruptObjectError`` where its size or SHA-256 is not the entry's."""
    _read_back(StoredBlob(entry.key, entry.bytes, entry.sha256))


def _transfer(key: str, path: Path) -> StoredBlob:
    """Touches no database: it runs on a thread of its own."""
    blob = object_store.put_file(key, path)
    _read_back(blob)
    return blob


def _read_back(written: StoredBlob) -> None:
    digest = hashlib.sha256()
    size = 0
    with object_store.open(written.key) as source:
        while block := source.read(1 << 20):
            digest.update(block)
            size += len(block)
    if size != written.bytes or digest.hexdigest() != written.sha256:
        raise CorruptObjectError(f"{written.key} does not hold what was written to it.")
