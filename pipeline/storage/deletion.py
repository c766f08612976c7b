"""Deleting records everywhere: rows, objects, vectors, feedback. What is gone cannot come back by a later run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import audit
from collections_app.models import Collection
from core import object_store
from core.problems import Problem
from feedback.models import Feedback, FeedbackTask
from inference.models import InferenceRequest, InferenceResult
from pipeline.images.regions import TEXT_ENGINES
from pipeline.models import Embedding, QuarantinedRecord, StoredObject
from pipeline.storage import layout

_REQUEST_FOLDER = re.compile(r"raw/[^/]+/collection_[^/]+/[^/]+/")


@dataclass(slots=True)
class Deleted:
    """What was deleted."""

    records: int = 0
    objects: int = 0
    bytes: int = 0

    def add(self, other: Deleted) -> None:
        self.records += other.records
        self.objects += other.objects
        self.bytes += other.bytes


def delete_results(identifiers: Sequence[UUID], *, keep_objects: bool = False) -> Deleted:
    """Delete results with all that is known of them: objects, vectors, tasks, feedback, quarantine, ledger.

    Objects go first: whoever is interrupted finds the rows again, and by them the objects. Bounded by the caller.
    """
    results = InferenceResult.objects.filter(pk__in=identifiers)
    known = list(results.values_list("request_id", "images"))
    objects = [] if keep_objects else _objects_of(images for _, images in known)
    object_store.delete(info.key for info in objects)
    with transaction.atomic():
        feedback = Feedback.objects.filter(inference_result__in=identifiers)
        Embedding.objects.filter(Q(inference_result__in=identifiers) | Q(source_id__in=identifiers)).delete()
        QuarantinedRecord.objects.filter(inference_result__in=identifiers).delete()
        feedback.delete()
        FeedbackTask.objects.filter(inference_result__in=identifiers).delete()
        StoredObject.objects.filter(key__in=[info.key for info in objects]).delete()
        results.delete()
        gone = {request_id for request_id, _ in known}
        others = InferenceResult.objects.filter(request_id__in=gone).values_list("request_id", flat=True)
        InferenceRequest.objects.filter(pk__in=gone - set(others)).delete()
    return Deleted(len(known), len(objects), sum(info.bytes for info in objects))


def delete_objects(stored: Iterable[StoredObject]) -> Deleted:
    """Delete objects and their rows in the catalogue."""
    deleted = Deleted()
    for entry in stored:
        object_store.delete([entry.key])
        deleted.objects += 1
        deleted.bytes += entry.bytes
        entry.delete()
    return deleted


def erase(collection: Collection, identifiers: Sequence[UUID]) -> Deleted:
    """Delete results, and every file of a run or an export that may hold one of them: those can be made again.

    For a person's right to be forgotten: afterwards no table, object or index holds the records. Audited.
    Raises ``Problem`` 409, having deleted nothing, where one of those files is under legal hold.
    """
    results = InferenceResult.objects.filter(collection=collection, pk__in=identifiers)
    moments = list(results.values_list("created_at", flat=True))
    if not moments:
        return Deleted()
    derived = StoredObject.objects.filter(collection=collection).filter(
        Q(run__window_start__lte=max(moments), run__window_end__gt=min(moments))
        | Q(export__created_at__gte=min(moments))
        | Q(key__in=[*_twin_keys(collection, results), layout.embeddings_key(collection.slug)])
    )
    if derived.filter(legal_hold=True).exists():
        raise Problem(409, "legal_hold", "Files that hold these records are under legal hold.")
    deleted = delete_objects(derived)
    deleted.add(delete_results(identifiers))
    audit.record("results.erased", collection, changes={"records": [deleted.records, 0]}, collection_id=collection.pk)
    return deleted


def _twin_keys(collection: Collection, results: QuerySet[InferenceResult]) -> list[str]:
    """The keys that the redacted twins of these results' images may have."""
    keys = []
    for images in results.values_list("images", flat=True):
        for image in images.values():
            try:
                digest = hashlib.sha256(object_store.get(image)).hexdigest()
            except FileNotFoundError:
                continue
            keys += [layout.redacted_key(collection.slug, digest, engine) for engine in TEXT_ENGINES]
    return keys


def _objects_of(images: Iterable[dict[str, str]]) -> list[object_store.ObjectInfo]:
    """Everything in the folders that hold these images: the images, the record beside them."""
    folders = {match[0] for keys in images for key in keys.values() if (match := _REQUEST_FOLDER.match(key))}
    return [info for folder in sorted(folders) for info in object_store.list(folder)]
