"""Requests whose records were deleted for good. Nothing of them is kept but a one-way trace, so that none comes back.

The trace is a row of the ledger ``inference_requests`` under 128 bits of the SHA-256 of the request id: a recorder that
reads an entry of its stream again, and a robot that repeats a request, find it; nobody finds the request by it. The
row's digest says whether the record's objects were kept, in an archive.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection as Sized
from collections.abc import Iterable

from django.db import connection
from django.utils import timezone

from collections_app.models import Collection
from inference.engine import answers
from inference.models import InferenceRequest

_SALT = b"forgotten:"
_DELETED, _ARCHIVED = b"", b"archived"


def trace(request_id: uuid.UUID) -> uuid.UUID:
    """What is kept of a forgotten request."""
    return uuid.UUID(bytes=hashlib.sha256(_SALT + request_id.bytes).digest()[:16])


def among(request_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Those of ``request_ids`` that were forgotten."""
    traces = {trace(request_id): request_id for request_id in request_ids}
    found = InferenceRequest.objects.filter(pk__in=traces).values_list("pk", flat=True)
    return {traces[key] for key in found}


def without_objects(request_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Those of ``request_ids`` that were forgotten together with their objects: not archived."""
    traces = {trace(request_id): request_id for request_id in request_ids}
    found = InferenceRequest.objects.filter(pk__in=traces, digest=_DELETED).values_list("pk", flat=True)
    return {traces[key] for key in found}


def forget(collection: Collection, request_ids: Sized[uuid.UUID], *, archived: bool = False) -> None:
    """Take these requests off the ledger and leave their traces. For a transaction that also
    deletes their results.

    What Redis holds of them goes first; it is told that they were recorded, so that a repeat asks the ledger.
    """
    answers.forget(collection.pk, request_ids, collection.cameras)
    InferenceRequest.objects.filter(pk__in=request_ids).delete()
    digest, now = _ARCHIVED if archived else _DELETED, timezone.now()
    InferenceRequest.objects.bulk_create(
        [
            InferenceRequest(pk=trace(request_id), collection=collection, digest=digest, created_at=now)
            for request_id in request_ids
        ],
        update_conflicts=True,
        unique_fields=["request_id"],
        update_fields=["digest"],
    )


def results_of(traces: Sized[uuid.UUID]) -> list[uuid.UUID]:
    """The ids of results that these traces speak of: what an old backup brought back. Reads every request id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM inference_results WHERE "
            "encode(substring(sha256(%s || uuid_send(request_id)) for 16), 'hex')::uuid = ANY(%s)",
            [_SALT, list(traces)],
        )
        return [row[0] for row in cursor.fetchall()]
