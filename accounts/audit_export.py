"""The audit trail outside of the database: one object a day, ``audit/<date>.jsonl.gz``, the chain's head in its end.

Whoever can change the database's rows and functions still cannot change a bucket that only this system may write to
(with object lock, nobody can): ``verify_audit`` compares the table with every head found there.
"""

from __future__ import annotations

import gzip
import tempfile
from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson

from accounts.models import AuditLog
from core import object_store

FOLDER = "audit/"


def export_day(day: date) -> object_store.StoredBlob:
    """Write the entries of one UTC day, oldest first, one JSON object a line, then ``{"head": {"id", "hash"}}``.

    The head is that of the whole chain at the day's end; null in both where there is no entry yet. Writing a day again
    gives the same object.
    """
    start = datetime.combine(day, time.min, tzinfo=UTC)
    entries = AuditLog.objects.filter(timestamp__gte=start, timestamp__lt=start + timedelta(days=1)).order_by("id")
    head = AuditLog.objects.filter(timestamp__lt=start + timedelta(days=1)).order_by("-id").first()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "day.jsonl.gz"
        # A fixed time in the header: the same entries are the same bytes.
        with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as target:
            for entry in entries.iterator(chunk_size=2000):
                target.write(orjson.dumps(_as_json(entry)) + b"\n")
            last = {"id": head.pk, "hash": bytes(head.hash).hex()} if head else {"id": None, "hash": None}
            target.write(orjson.dumps({"head": last}) + b"\n")
        return object_store.put_file(f"{FOLDER}{day.isoformat()}.jsonl.gz", path, content_type="application/gzip")


def days_without_export(today: date) -> Iterator[date]:
    """The finished UTC days, since the first entry, that have no object yet."""
    first = AuditLog.objects.order_by("timestamp").values_list("timestamp", flat=True).first()
    if first is None:
        return
    exported = {info.key for info in object_store.list(FOLDER)}
    day = first.astimezone(UTC).date()
    while day < today:
        if f"{FOLDER}{day.isoformat()}.jsonl.gz" not in exported:
            yield day
        day += timedelta(days=1)


def exported_heads() -> dict[int, str]:
    """The heads that the exports name: id to hash in hexadecimal."""
    heads: dict[int, str] = {}
    for info in object_store.list(FOLDER):
        head = _head(info.key)
        if head["id"] is not None:
            heads[head["id"]] = head["hash"]
    return heads


def _head(key: str) -> dict[str, Any]:
    with object_store.open(key) as raw, gzip.open(raw) as lines:
        (last,) = deque(lines, maxlen=1)
    return dict(orjson.loads(last)["head"])


def _as_json(entry: AuditLog) -> dict[str, Any]:
    values = {field.name: getattr(entry, field.name) for field in AuditLog._meta.fields}
    return {name: value.hex() if isinstance(value, bytes | memoryview) else value for name, value in values.items()}
