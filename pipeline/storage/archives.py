"""Archives: records that leave the database for compressed JSON lines in object storage; their images stay there."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from collections_app.models import Collection
from feedback.models import Feedback
from inference.models import InferenceResult
from pipeline.choices import ObjectKind
from pipeline.models import StoredObject
from pipeline.storage import catalogue, layout


def archive_results(collection: Collection, identifiers: Sequence[UUID]) -> StoredObject:
    """Write the rows of these results and of their feedback as one object, and read it back."""
    feedback: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for answer in Feedback.objects.filter(inference_result__in=identifiers).order_by("pk").values():
        feedback[answer["inference_result_id"]].append(answer)
    rows = InferenceResult.objects.filter(pk__in=identifiers).order_by("created_at", "pk").values()
    lines = [orjson.dumps({**row, "feedback": feedback[row["id"]]}, option=orjson.OPT_APPEND_NEWLINE) for row in rows]
    key = layout.archive_key(collection.slug, identifiers[0])
    data = gzip.compress(b"".join(lines), mtime=0)
    entry = catalogue.store(key, data, kind=ObjectKind.ARCHIVE, collection=collection)
    catalogue.verify(entry)
    return entry
