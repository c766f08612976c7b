"""The objects of raw records, which no catalogue lists: they lie in one folder per request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from core import object_store
from pipeline.models import PurgedRecord
from pipeline.storage import layout

_REQUEST_FOLDER = re.compile(r"raw/[^/]+/collection_[^/]+/[^/]+/")


class RawRecord(NamedTuple):
    """What says where a record's objects lie; ``images`` maps a camera to a key."""

    request_id: UUID
    created_at: datetime
    images: Mapping[str, str]


def folders_of(records: Iterable[RawRecord], slug: str) -> set[str]:
    """Where these records' objects lie: a folder of each, and those that its images name."""
    folders: set[str] = set()
    for record in records:
        folders.add(layout.raw_folder(record.created_at.astimezone(UTC).date(), slug, record.request_id))
        folders.update(match[0] for key in record.images.values() if (match := _REQUEST_FOLDER.match(key)))
    return folders


def objects_of(records: Iterable[RawRecord], slug: str) -> list[object_store.ObjectInfo]:
    """Everything in these records' folders: the images, and ``record.json``, which is there without an image too."""
    return [info for folder in sorted(folders_of(records, slug)) for info in object_store.list(folder)]


def fetch(key: str) -> bytes:
    """The image that a row says lies under ``key``. Raises ``FileNotFoundError``."""
    return located(key)[1]


def located(key: str) -> tuple[str, bytes]:
    """The image that a row says lies under ``key``, and where it lies now: its raw data may have been purged since the
    row was read. Raises ``FileNotFoundError``.
    """
    try:
        return key, object_store.get(key)
    except FileNotFoundError:
        purged = PurgedRecord.objects.filter(raw__contains=[key]).first()
        if purged is None:
            raise
    twin = dict(zip(purged.raw, purged.twins, strict=True))[key]
    return twin, object_store.get(twin)
