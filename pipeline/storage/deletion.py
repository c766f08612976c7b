"""Deleting records everywhere: rows, objects, vectors, feedback, caches.

What is gone is not brought back by a later run, by a recorder that reads its stream again (``inference.forgotten``), or
by an older backup that is restored (the journal of erasures).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts import audit
from collections_app.models import Collection, Episode
from core import object_store
from core.identifiers import uuid7
from core.problems import Problem
from feedback.models import Feedback, FeedbackTask
from feedback.webhooks.models import WebhookDelivery
from inference import forgotten
from inference.engine import answers
from inference.models import InferenceResult
from pipeline.choices import ObjectKind
from pipeline.embeddings import file as embeddings_file
from pipeline.embeddings import remembered
from pipeline.images.regions import TEXT_ENGINES
from pipeline.models import (
    Embedding,
    Export,
    ImageEmbedding,
    PipelineRun,
    PurgedRecord,
    QuarantinedRecord,
    RetentionRule,
    StoredObject,
)
from pipeline.storage import archives, catalogue, layout, raw
from pipeline.storage.raw import RawRecord

BATCH = 500


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


def delete_results(collection: Collection, identifiers: Sequence[UUID], *, keep_objects: bool = False) -> Deleted:
    """Delete results with all that is known of them: objects, vectors, tasks, feedback, quarantine, caches, ledger.

    Objects go first: whoever is interrupted finds the rows again, and by them the objects. With ``keep_objects``, for
    archiving, images and episodes stay. Bounded by the caller.
    """
    results = InferenceResult.objects.filter(pk__in=identifiers)
    known = list(results.values_list("request_id", "created_at", "images", "episode_id"))
    records = [RawRecord(*row[:3]) for row in known]
    objects = [] if keep_objects else raw.objects_of(records, collection.slug)
    object_store.delete(info.key for info in objects)
    gone = {record.request_id for record in records}
    with transaction.atomic():
        feedback = Feedback.objects.filter(inference_result__in=identifiers)
        Embedding.objects.filter(Q(inference_result__in=identifiers) | Q(source_id__in=identifiers)).delete()
        ImageEmbedding.objects.filter(inference_result__in=identifiers).delete()
        QuarantinedRecord.objects.filter(inference_result__in=identifiers).delete()
        WebhookDelivery.objects.filter(
            endpoint__collection=collection, payload__data__request_id__in=[str(request_id) for request_id in gone]
        ).delete()
        feedback.delete()
        FeedbackTask.objects.filter(inference_result__in=identifiers).delete()
        StoredObject.objects.filter(key__in=[info.key for info in objects]).delete()
        results.delete()
        released = Deleted() if keep_objects else _release_twins(identifiers)
        if not keep_objects:
            _delete_empty_episodes({row[3] for row in known})
        others = set(InferenceResult.objects.filter(request_id__in=gone).values_list("request_id", flat=True))
        forgotten.forget(collection, gone - others, archived=keep_objects)
        remembered.forget([collection.pk])
    deleted = Deleted(len(known), len(objects), sum(info.bytes for info in objects))
    deleted.add(released)
    return deleted


def delete_objects(stored: Iterable[StoredObject]) -> Deleted:
    """Delete objects and their rows in the catalogue; with an archive, the images of its records."""
    deleted = Deleted()
    waiting = iter(stored)
    while batch := list(islice(waiting, BATCH)):
        for entry in batch:
            if entry.kind == ObjectKind.ARCHIVE and entry.collection is not None:
                deleted.add(_delete_archived_images(entry.collection, archives.read(entry)))
        object_store.delete([entry.key for entry in batch])
        StoredObject.objects.filter(pk__in=[entry.pk for entry in batch]).delete()
        deleted.add(Deleted(0, len(batch), sum(entry.bytes for entry in batch)))
    return deleted


def refresh_embeddings_file(collection: Collection) -> None:
    """Write the collection's file of vectors without those that are gone, where there is one and nothing holds it."""
    entry = StoredObject.objects.filter(key=layout.embeddings_key(collection.slug), legal_hold=False)
    if entry.exists():
        embeddings_file.write(collection)


def erase(collection: Collection, identifiers: Sequence[UUID]) -> Deleted:
    """Delete results, archived ones too, and every file of a run or an export that may hold one of them: those can be
    made again.

    For a person's right to be forgotten: afterwards no table, object, index or cache holds the records, and a backup
    that is restored loses them again. Audited by their number. Raises ``Problem`` 409, having deleted nothing, where
    one of those files or one of their classes is under legal hold, or where a run or an export is at work on them.
    """
    results = InferenceResult.objects.filter(collection=collection, pk__in=identifiers)
    records = [RawRecord(*row) for row in results.values_list("request_id", "created_at", "images")]
    archived = archives.find(collection, identifiers)
    everything = records + [_record(row) for _entry, rows in archived for row in rows]
    if not everything:
        return Deleted()
    moments = [record.created_at for record in everything]
    derived = StoredObject.objects.filter(collection=collection).filter(
        Q(run__window_start__lte=max(moments), run__window_end__gt=min(moments))
        | Q(export__created_at__gte=min(moments))
        | Q(key__in=_twin_keys(collection, everything))
    )
    shown = PurgedRecord.objects.filter(pk__in=identifiers).values_list("twins", flat=True)
    held = {layout.embeddings_key(collection.slug), *(entry.key for entry, _rows in archived), *chain(*shown)}
    refuse_while_held_or_at_work(
        collection, derived.filter(legal_hold=True) | StoredObject.objects.filter(key__in=held, legal_hold=True)
    )
    _write_journal(collection, everything)
    answers.forget_cached(set(results.exclude(policy_version=None).values_list("policy_version", flat=True)))
    deleted = delete_objects(derived)
    for entry, rows in archived:
        deleted.add(_delete_archived_images(collection, rows))
        forgotten.forget(collection, [_record(row).request_id for row in rows])
        archives.take_out(entry, rows)
        deleted.records += len(rows)
    for batch in _parts(list(results.values_list("pk", flat=True)), BATCH):
        deleted.add(delete_results(collection, batch))
    refresh_embeddings_file(collection)
    audit.record("results.erased", collection, changes={"records": [deleted.records, 0]}, collection_id=collection.pk)
    return deleted


def erase_again() -> Deleted:
    """Delete what was erased once and an older backup has brought back. Reads the whole journal."""
    deleted = Deleted()
    traces = [
        UUID(text)
        for info in object_store.list(layout.ERASURES)
        for text in orjson.loads(object_store.get(info.key))["traces"]
    ]
    returned = [identifier for part in _parts(traces, 10_000) for identifier in forgotten.results_of(part)]
    found = InferenceResult.objects.filter(pk__in=returned)
    for collection in list(Collection.objects.filter(pk__in=found.values("collection"))):
        for batch in _parts(list(found.filter(collection=collection).values_list("pk", flat=True)), BATCH):
            deleted.add(delete_results(collection, batch))
        refresh_embeddings_file(collection)
    return deleted


def _parts(identifiers: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    return (identifiers[start : start + size] for start in range(0, len(identifiers), size))


def is_held(collection: Collection) -> bool:
    """Whether a class of the collection's data is under legal hold."""
    return RetentionRule.objects.filter(collection=collection, legal_hold=True).exists()


def refuse_while_held_or_at_work(collection: Collection, held: QuerySet[StoredObject] | None = None) -> None:
    """Raises ``Problem`` 409 where one of the objects ``held``, or a class of the collection's data, is under legal
    hold, or where a run or an export of it is at work.
    """
    if is_held(collection) or (held is not None and held.exists()):
        raise Problem(409, "legal_hold", "Data of this collection that may hold these records is under legal hold.")
    for jobs in (PipelineRun.objects, Export.objects):
        if jobs.filter(collection=collection).unfinished().exists():
            raise Problem(409, "at_work", "A run or an export of this collection is at work; wait for its end.")


def _write_journal(collection: Collection, records: Iterable[RawRecord]) -> None:
    """Traces alone: whoever knows a request id can tell that it was erased; nobody can tell the id from its trace."""
    traces = sorted(str(forgotten.trace(record.request_id)) for record in records)
    key = layout.erasure_key(timezone.now(), uuid7())
    catalogue.store(key, orjson.dumps({"collection": str(collection.pk), "traces": traces}), kind=ObjectKind.AUDIT)


def _delete_archived_images(collection: Collection, rows: Sequence[Mapping[str, Any]]) -> Deleted:
    objects = raw.objects_of([_record(row) for row in rows], collection.slug)
    object_store.delete(info.key for info in objects)
    deleted = Deleted(0, len(objects), sum(info.bytes for info in objects))
    with transaction.atomic():
        deleted.add(_release_twins([UUID(row["id"]) for row in rows]))
    return deleted


def _release_twins(identifiers: Sequence[UUID]) -> Deleted:
    """Delete the pictures of those of these records whose raw data was purged, unless another record shows the same or
    they are held. For a transaction: a purge that would take up one of them waits for its end.
    """
    purged = PurgedRecord.objects.filter(pk__in=identifiers)
    twins = {key for keys in purged.values_list("twins", flat=True) for key in keys}
    purged.delete()
    entries = list(StoredObject.objects.select_for_update().filter(key__in=twins, legal_hold=False).order_by("key"))
    shown = {
        key
        for keys in PurgedRecord.objects.filter(twins__overlap=[entry.key for entry in entries]).values_list(
            "twins", flat=True
        )
        for key in keys
    }
    free = [entry for entry in entries if entry.key not in shown]
    object_store.delete(entry.key for entry in free)
    StoredObject.objects.filter(pk__in=[entry.pk for entry in free]).delete()
    return Deleted(0, len(free), sum(entry.bytes for entry in free))


def _record(row: Mapping[str, Any]) -> RawRecord:
    """An archived row's. Raises ``ValueError`` where its time is none."""
    created_at = parse_datetime(row["created_at"])
    if created_at is None:
        raise ValueError(f"Not a time: {row['created_at']!r}")
    return RawRecord(UUID(row["request_id"]), created_at, row["images"])


def _delete_empty_episodes(identifiers: Iterable[UUID | None]) -> None:
    """An episode's row repeats its records' instruction: it goes with the last of them."""
    wanted = [identifier for identifier in identifiers if identifier is not None]
    others = set(InferenceResult.objects.filter(episode__in=wanted).values_list("episode_id", flat=True))
    Episode.objects.filter(pk__in=set(wanted) - others).delete()


def _twin_keys(collection: Collection, records: Iterable[RawRecord]) -> list[str]:
    """The keys that the redacted twins of these records' raw images may have, without those that are the only picture
    of a record whose raw data was purged.
    """
    keys: set[str] = set()
    for record in records:
        for image in record.images.values():
            if layout.is_redacted(image):  # goes with the last record that shows it
                continue
            try:
                digest = hashlib.sha256(object_store.get(image)).hexdigest()
            except FileNotFoundError:
                continue
            keys.update(layout.redacted_key(collection.slug, digest, engine) for engine in TEXT_ENGINES)
    shown = PurgedRecord.objects.filter(twins__overlap=sorted(keys)).values_list("twins", flat=True)
    return sorted(keys.difference(*shown))
