"""How many answers a collection's robots got in each minute: the load of the queue that each of them waited in.

Counted once, when a run is planned or an export begins: a shard sees its own episodes only. Of one collection, because
what others do is nobody's business here; ``queue_ms`` and ``batch_size`` of a record tell of all of them together.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from django.db.models import Count
from django.db.models.functions import TruncMinute

from inference.models import InferenceResult
from pipeline import records
from pipeline.stages.features import QueueLoad

_COLUMNS = {"minute": pa.timestamp("s"), "results": pa.int64()}


def of_collection(collection_id: uuid.UUID, start: datetime, end: datetime, *, as_of: datetime) -> QueueLoad:
    """The load in every minute between ``start`` and ``end``, whole minutes, as known at ``as_of``.

    Shadow answers count: they take their turn in a queue, too.
    """
    whole = {"second": 0, "microsecond": 0}
    results = InferenceResult.objects.filter(
        collection=collection_id,
        created_at__gte=start.replace(**whole),  # type: ignore[arg-type]
        created_at__lt=min(as_of, end.replace(**whole) + timedelta(minutes=1)),  # type: ignore[arg-type]
    )
    by_minute = results.order_by().annotate(minute=TruncMinute("created_at", tzinfo=UTC)).values("minute")
    counted = by_minute.annotate(results=Count("pk")).order_by("minute")
    table = records.copied(counted.values_list("minute", "results"), _COLUMNS)
    seconds = table.column("minute").cast(pa.int64()).to_numpy()
    return QueueLoad(minutes=seconds // 60, results=table.column("results").to_numpy())
