"""Archives: records that leave the database for compressed JSON lines in object storage; their images stay there."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from collections_app.models import Collection
from core import object_store
from feedback.models import Feedback
from inference.models import InferenceResult
from pipeline.choices import ObjectKind
from pipeline.models import StoredObject
from pipeline.storage import catalogue, layout

Row = dict[str, Any]


def archive_results(collection: Collection, identifiers: Sequence[UUID]) -> StoredObject:
    """Write the rows of these results and of their feedback as one object, and read it back."""
    feedback: dict[UUID, list[Row]] = defaultdict(list)
    for answer in Feedback.objects.filter(inference_result__in=identifiers).order_by("pk").values():
        feedback[answer["inference_result_id"]].append(answer)
    rows = InferenceResult.objects.filter(pk__in=identifiers).order_by("created_at", "pk").values()
    return _write(
        layout.archive_key(collection.slug, identifiers[0]),
        [{**row, "feedback": feedback[row["id"]]} for row in rows],
        collection,
    )


def read(entry: StoredObject) -> list[Row]:
    """An archive's records. Raises ``FileNotFoundError``."""
    return [orjson.loads(line) for line in gzip.decompress(object_store.get(entry.key)).splitlines()]


def find(collection: Collection, identifiers: Sequence[UUID]) -> list[tuple[StoredObject, list[Row]]]:
    """The archives that hold some of these results, each with those. Reads every archive of the collection."""
    wanted = {str(identifier) for identifier in identifiers}
    entries = StoredObject.objects.filter(collection=collection, kind=ObjectKind.ARCHIVE).order_by("key")
    found = [(entry, [row for row in read(entry) if row["id"] in wanted]) for entry in entries.iterator(chunk_size=100)]
    return [(entry, rows) for entry, rows in found if rows]


def take_out(entry: StoredObject, rows: Sequence[Row]) -> None:
    """Write an archive anew without ``rows``, under another name where that was one of theirs; an empty one goes."""
    gone = {row["id"] for row in rows}
    kept = [row for row in read(entry) if row["id"] not in gone]
    key = None
    if kept and entry.collection is not None:
        key = layout.archive_key(entry.collection.slug, UUID(kept[0]["id"]))
        _write(key, kept, entry.collection)
    if key != entry.key:
        object_store.delete([entry.key])
        entry.delete()


def _write(key: str, rows: Sequence[Row], collection: Collection) -> StoredObject:
    data = gzip.compress(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows), mtime=0)
    entry = catalogue.store(key, data, kind=ObjectKind.ARCHIVE, collection=collection)
    catalogue.verify(entry)
    return entry
