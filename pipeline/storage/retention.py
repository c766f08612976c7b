"""Retention: what a rule would remove, and removing it. Legal hold wins over every rule.

Classes of data are kept for as long as their own rules say: raw records may go after a month while the anonymised
batches made of them stay. ``deletion.erase`` is for records that must leave every class at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, F, Func, IntegerField, JSONField, Min, OuterRef, Q, QuerySet, Sum, Value
from django.utils import timezone

from accounts import audit
from inference.models import InferenceResult
from pipeline.choices import ObjectKind, RetentionAction
from pipeline.embeddings import remembered
from pipeline.models import Embedding, ImageEmbedding, PurgedRecord, RetentionRule, StoredObject
from pipeline.storage import archives, deletion
from pipeline.storage.deletion import Deleted

BATCH = 500


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rule would remove now; ``oldest`` is the first of it.

    Of raw records the images and ``record.json`` are counted, not weighed: only storage knows their size.
    """

    records: int
    objects: int
    bytes: int
    oldest: datetime | None = None


def preview(rule: RetentionRule) -> Preview:
    """A dry run of ``rule``."""
    if rule.legal_hold:
        return Preview(0, 0, 0)
    if rule.kind == ObjectKind.RAW:
        images = Func(F("images"), Value("$.*"), function="jsonb_path_query_array", output_field=JSONField())
        counted = Func(images, function="jsonb_array_length", output_field=IntegerField())
        found = _expired_results(rule).aggregate(
            records=Count("pk"),
            images=Sum(counted),
            documents=Count("pk", filter=Q(~Exists(PurgedRecord.objects.filter(pk=OuterRef("pk"))), shadow=False)),
            oldest=Min("created_at"),
        )
        objects = 0 if rule.action == RetentionAction.ARCHIVE else (found["images"] or 0) + found["documents"]
        return Preview(found["records"], objects, 0, found["oldest"])
    if rule.kind == ObjectKind.EMBEDDINGS:
        parts = [rows.aggregate(records=Count("pk"), oldest=Min("occurred_at")) for rows in _expired_embeddings(rule)]
        oldest = min((part["oldest"] for part in parts if part["oldest"] is not None), default=None)
        return Preview(sum(part["records"] for part in parts), 0, 0, oldest)
    found = _expired_objects(rule).aggregate(objects=Count("pk"), bytes=Sum("bytes"), oldest=Min("created_at"))
    return Preview(0, found["objects"], found["bytes"] or 0, found["oldest"])


def apply(rule: RetentionRule, progress: Callable[[Deleted], None] = lambda _so_far: None) -> Deleted:
    """Do what ``rule`` says, a batch at a time, telling ``progress`` after each. Safe to interrupt and to repeat."""
    deleted = Deleted()
    if not rule.enabled or rule.legal_hold:
        return deleted
    if rule.kind == ObjectKind.RAW:
        for batch in _batches(_expired_results(rule)):
            if rule.action == RetentionAction.ARCHIVE:
                archives.archive_results(rule.collection, batch)
            deleted.add(
                deletion.delete_results(rule.collection, batch, keep_objects=rule.action == RetentionAction.ARCHIVE)
            )
            progress(deleted)
    elif rule.kind == ObjectKind.EMBEDDINGS:
        deleted.records = sum(rows.delete()[0] for rows in _expired_embeddings(rule))
        remembered.forget([rule.collection_id])
    else:
        deleted.add(deletion.delete_objects(_expired_objects(rule).iterator(chunk_size=BATCH)))
    if deleted.records:
        deletion.refresh_embeddings_file(rule.collection)
    if deleted.records or deleted.objects:
        counts = {"records": deleted.records, "objects": deleted.objects, "bytes": deleted.bytes}
        audit.record("retention.applied", rule, changes={name: [count, 0] for name, count in counts.items()})
    return deleted


def _before(rule: RetentionRule) -> datetime:
    return timezone.now() - timedelta(days=rule.days)


def _expired_results(rule: RetentionRule) -> QuerySet[InferenceResult]:
    return InferenceResult.objects.filter(collection=rule.collection_id, created_at__lt=_before(rule))


def _expired_embeddings(rule: RetentionRule) -> tuple[QuerySet[Any], ...]:
    """Of texts and of pictures."""
    expired = {"collection": rule.collection_id, "occurred_at__lt": _before(rule)}
    return Embedding.objects.filter(**expired), ImageEmbedding.objects.filter(**expired)


def _expired_objects(rule: RetentionRule) -> QuerySet[StoredObject]:
    return StoredObject.objects.filter(
        collection=rule.collection_id, kind=rule.kind, created_at__lt=_before(rule), legal_hold=False
    )


def _batches(results: QuerySet[InferenceResult]) -> Iterator[list[UUID]]:
    """Ids, oldest first, until none are left; a batch is gone before the next is asked for."""
    oldest = results.order_by("created_at", "id").values_list("pk", flat=True)
    while batch := list(oldest[:BATCH]):
        yield batch
