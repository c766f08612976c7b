"""Purging raw data behind a published run: what stays of a record is what the run published of it.

The run's files, which are read back first, are the redacted twins of the records' texts; pictures have twins of their
own. A record whose twins are verified gets them in one transaction: its row's texts, and those of all that hangs on it,
are replaced, its pictures are the twins. Then its raw objects are deleted. Whoever is killed between the two leaves a
note (``PurgedRecord.raw_deleted_at``) by which the next call finds them. Everybody who reads records goes on, and reads
what was published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import pyarrow as pa
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Count, Exists, F, Func, IntegerField, JSONField, OuterRef, QuerySet, Sum, Value
from django.utils import timezone

from accounts import audit
from collections_app.models import Collection, Episode
from core import object_store
from core.identifiers import uuid7
from core.object_store import StoredBlob
from core.personal_data.presidio import detect
from core.problems import Problem
from feedback.models import Dispute, Draft, Feedback, Review, TaskSkip
from inference import forgotten
from inference.engine import answers
from inference.models import InferenceResult
from pipeline import records
from pipeline.choices import JobState, ObjectKind
from pipeline.embeddings import map as maps
from pipeline.embeddings import remembered, renewal
from pipeline.images import published
from pipeline.images.redaction import UnreadableImageError
from pipeline.locks import held_by_one
from pipeline.models import Export, PipelineRun, PurgedRecord, RunShard, StoredObject
from pipeline.pseudonyms import Pseudonyms
from pipeline.runs import parquet, selection
from pipeline.stages.anonymise import VIOLATION_FIELDS, Anonymise, Texts
from pipeline.stages.images import REMARKS
from pipeline.storage import catalogue, deletion, layout, raw
from pipeline.storage.raw import RawRecord

BATCH = 200
# What a published row must say as the record does, once that is anonymised.
COMPARED = ("episode", "instruction", "comments", "violations")
# Texts of a record's own that hang on it: model, field, how it leads to the result.
_HANGING: Sequence[tuple[Any, str, str]] = (
    (Feedback, "comment", "inference_result"),
    (Review, "comment", "feedback__inference_result"),
    (Dispute, "comment", "inference_result"),
    (TaskSkip, "note", "task__inference_result"),
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What purging a run would take now, at most: each record's twins are verified first.

    ``waiting`` are in quarantine, so that no run published them; ``purged`` are done already.
    """

    records: int
    pictures: int
    purged: int
    waiting: int


@dataclass(slots=True)
class Purged:
    """What was purged, and how many records were left, by reason."""

    records: int = 0
    objects: int = 0
    bytes: int = 0
    left: Counter[str] = field(default_factory=Counter)


def preview(run: PipelineRun) -> Preview:
    """A dry run. Counts rows, and reads no object."""
    pictures = Func(F("images"), Value("$.*"), function="jsonb_path_query_array", output_field=JSONField())
    counted = Func(pictures, function="jsonb_array_length", output_field=IntegerField())
    results = selection.of_run(run)
    waiting = run.quarantined.waiting().values("inference_result").distinct().count()
    done = results.filter(_is_purged()).count()
    found = (
        results.filter(~_is_purged())
        .exclude(pk__in=run.quarantined.waiting().values("inference_result"))
        .aggregate(records=Count("pk"), pictures=Sum(counted))
    )
    return Preview(found["records"], found["pictures"] or 0, done, waiting)


def refuse_unless_possible(run: PipelineRun) -> None:
    """Raises ``Problem`` 409 where nothing of the run was published, where data of its collection is under legal hold,
    or where another run or an export is at work on it.
    """
    if run.state != JobState.SUCCEEDED:
        raise Problem(409, "not_published", "This run has published nothing that could stand for the raw data.")
    deletion.refuse_while_held_or_at_work(run.collection)


def purge(run: PipelineRun, progress: Callable[[Purged], None] = lambda _so_far: None) -> Purged:
    """Purge the raw data of the records that ``run`` published, telling ``progress`` after each batch.

    Safe to interrupt and to repeat. Raises ``Problem`` 409 as ``refuse_unless_possible`` does, and where the collection
    is being purged.
    """
    refuse_unless_possible(run)
    purged = Purged()
    with held_by_one(f"purge-{run.collection_id}") as mine:
        if not mine:
            raise Problem(409, "at_work", "Raw data of this collection is being purged.")
        _finish_begun(run.collection, purged, run)
        purged.left["in_quarantine"] = run.quarantined.waiting().values("inference_result").distinct().count()
        texts = Texts(detect)
        for shard in run.shards.order_by("number"):
            for rows in _published(run, shard, purged):
                if deletion.is_held(run.collection):  # since this began
                    purged.left["legal_hold"] += rows.num_rows
                    continue
                _replace(run, rows, texts, purged)
                _finish_begun(run.collection, purged, run)
                progress(purged)
        purged.left = +purged.left  # without zeros
        # Also where nothing was purged now: the call before may have been cut off here.
        _redact_export_queries(run.collection, texts)
        maps.draw(run.collection)
        deletion.refresh_embeddings_file(run.collection)
        remembered.forget([run.collection_id])
        _tell(run, purged)
    return purged


def _tell(run: PipelineRun, purged: Purged) -> None:
    """In the run's report and the audit trail: what all calls together purged, and what is left now."""
    with transaction.atomic():
        told = _add_to_report(run, left=dict(sorted(purged.left.items())))
        changes = {name: [told.get(name, 0), 0] for name in ("records", "objects", "bytes")}
        audit.record("raw_data.purged", run, changes={**changes, "left": [None, told["left"]]})


def _add_to_report(run: PipelineRun, *, left: Mapping[str, int] | None = None, **counts: int) -> dict[str, Any]:
    """For the transaction of what is counted: a call that is cut off has counted what it did."""
    kept = PipelineRun.objects.select_for_update(of=("self",)).get(pk=run.pk)
    told: dict[str, Any] = kept.report.setdefault("purged", {})
    for name, count in counts.items():
        told[name] = told.get(name, 0) + count
    if left is not None:
        told["left"] = left
    kept.save(update_fields=["report"])
    run.report = kept.report
    return told


# --- the twins of texts: what the run published ---


def _published(run: PipelineRun, shard: RunShard, purged: Purged) -> Iterator[pa.Table]:
    """A shard's rows as they were published, ``BATCH`` at a time; none where its file is not what was written."""
    key = layout.run_folder(run.collection.slug, run.pk) + shard.file["path"]
    entry = StoredObject.objects.filter(key=key, sha256=shard.file["sha256"]).first()
    try:
        if entry is None:
            raise FileNotFoundError(key)
        catalogue.verify(entry)
    except FileNotFoundError:
        purged.left["file_missing"] += shard.file["records"]
    except catalogue.CorruptObjectError:
        purged.left["file_damaged"] += shard.file["records"]
    else:
        table = parquet.read(key, ["result_id", "quality", *COMPARED])
        for start in range(0, table.num_rows, BATCH):
            yield table.slice(start, BATCH)


def _replace(run: PipelineRun, rows: pa.Table, texts: Texts, purged: Purged) -> None:
    """Have the records of ``rows`` say and show what was published of them, as far as their twins are verified."""
    told = {UUID(row["result_id"]): row for row in rows.to_pylist()}
    wanted = InferenceResult.objects.filter(pk__in=told).filter(~_is_purged())
    results = {result.pk: result for result in wanted.only("request_id", "created_at", "images", "episode_id")}
    now = _anonymised(run, list(results))
    held = _held_folders(run.collection)
    twins: dict[UUID, dict[str, StoredObject]] = {}
    for identifier, result in results.items():
        if any(now[identifier][name] != told[identifier][name] for name in COMPARED):
            purged.left["changed_since_published"] += 1
        elif held and not held.isdisjoint(raw.folders_of([_raw_record(result)], run.collection.slug)):
            purged.left["legal_hold"] += 1
        else:
            try:
                twins[identifier] = _twins(run.collection, result)
            except catalogue.CorruptObjectError:
                purged.left["twin_damaged"] += 1
            except (FileNotFoundError, UnreadableImageError):
                purged.left["image_unreadable"] += 1
    if twins:
        _write_journal(run.collection, results, twins, told)
    with transaction.atomic():
        kept = _keep(run.collection, twins)
        purged.left["twin_damaged"] += len(twins) - len(kept)
        PurgedRecord.objects.bulk_create(
            PurgedRecord(
                result_id=identifier,
                collection=run.collection,
                raw=[results[identifier].images[camera] for camera in found],
                twins=[twin.key for twin in found.values()],
                remarks=_camera_remarks(told[identifier]["quality"]),
            )
            for identifier, found in twins.items()
            if identifier in kept
        )
        for identifier in kept:
            _redact_rows(results[identifier].request_id, told[identifier], twins[identifier], texts)
        if kept:
            _redact_what_hangs_on(run.collection, kept, told, texts)
            requests = [results[identifier].request_id for identifier in kept]
            answers.forget(run.collection_id, requests, run.collection.cameras)
        _redact_finished_episodes(InferenceResult.objects.filter(pk__in=told).values("episode"), texts)
        _add_to_report(run, records=len(kept))
    purged.records += len(kept)


def _anonymised(run: PipelineRun, identifiers: Sequence[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
    """What the run would publish of these records' texts today."""
    if not identifiers:
        return {}
    table = records.read(InferenceResult.objects.filter(pk__in=identifiers), as_of=run.created_at)
    clean = Anonymise(Pseudonyms.of(run.collection_id), detect)(table).table
    return {UUID(row["id"]): row for row in clean.select(["id", *COMPARED]).to_pylist()}


def _camera_remarks(quality: Sequence[str]) -> list[str]:
    return [remark for remark in quality if remark in REMARKS]


# --- the twins of pictures ---


def _twins(collection: Collection, result: InferenceResult) -> dict[str, StoredObject]:
    """The verified twin of each of a record's pictures, by camera."""
    return {camera: published.verified_twin(collection, object_store.get(key)) for camera, key in result.images.items()}


def _keep(collection: Collection, twins: Mapping[UUID, Mapping[str, StoredObject]]) -> set[UUID]:
    """Take the twins out of the reach of whatever deletes them. Returns the records whose twins are still there.

    From now on they are the records' own pictures: raw data by class, no longer something that can be made again.
    """
    wanted = {twin.key: twin.sha256 for found in twins.values() for twin in found.values()}
    entries = StoredObject.objects.select_for_update().filter(key__in=wanted).order_by("key")
    there = {entry.key for entry in entries if entry.sha256 == wanted[entry.key]}
    StoredObject.objects.filter(key__in=there).update(kind=ObjectKind.RAW)
    return {identifier for identifier, found in twins.items() if there.issuperset(twin.key for twin in found.values())}


# --- the database's own texts ---


def _redact_rows(request_id: UUID, told: Mapping[str, Any], twins: Mapping[str, StoredObject], texts: Texts) -> None:
    """The record's row, and those of the versions that answered the same observation in its shadow."""
    images = {camera: twin.key for camera, twin in twins.items()}
    rows = InferenceResult.objects.filter(request_id=request_id)
    rows.filter(shadow=False).update(
        instruction=told["instruction"], safety_violations=orjson.loads(told["violations"]), images=images
    )
    for shadow in rows.filter(shadow=True).only("instruction", "safety_violations", "images"):
        rows.filter(pk=shadow.pk).update(
            instruction=texts.clean(shadow.instruction),
            safety_violations=texts.clean_value(shadow.safety_violations, fields=VIOLATION_FIELDS),
            images={camera: images[camera] for camera in shadow.images if camera in images},
        )


def _redact_what_hangs_on(
    collection: Collection, identifiers: set[UUID], told: Mapping[UUID, Mapping[str, Any]], texts: Texts
) -> None:
    """What people wrote about these records, and the vectors of it and of the instructions."""
    for model, name, path in _HANGING:
        longest = model._meta.get_field(name).max_length
        for row in model._default_manager.filter(**{f"{path}__in": identifiers}).exclude(**{name: ""}).only(name):
            clean = texts.clean(getattr(row, name))[:longest]
            if clean != getattr(row, name):
                model._default_manager.filter(pk=row.pk).update(**{name: clean})
    for draft in Draft.objects.filter(task__inference_result__in=identifiers):
        Draft.objects.filter(pk=draft.pk).update(content=texts.clean_value(draft.content))
    comments = Feedback.objects.filter(inference_result__in=identifiers).values_list("pk", "comment")
    said = {identifier: told[identifier]["instruction"] or "" for identifier in identifiers}
    renewal.renew_texts(collection, said | dict(comments))


def _redact_finished_episodes(identifiers: QuerySet[InferenceResult, Any], texts: Texts) -> None:
    """An episode's row repeats what its records say: it follows with the last of them."""
    unpurged = InferenceResult.objects.sent().filter(episode=OuterRef("pk")).filter(~_is_purged())
    finished = Episode.objects.filter(pk__in=identifiers).exclude(Exists(unpurged))
    for episode in finished.select_for_update().order_by("pk"):
        name = texts.clean(episode.external_id)
        stored = _free_name(episode, name)
        if stored != name:  # another episode has that name, or it is too long
            members = InferenceResult.objects.filter(episode=episode).values("pk")
            PurgedRecord.objects.filter(pk__in=members).update(episode=name)
        longest = Episode._meta.get_field("tags").base_field.max_length
        Episode.objects.filter(pk=episode.pk).update(
            external_id=stored,
            instruction=texts.clean(episode.instruction),
            tags=[texts.clean(tag)[:longest] for tag in episode.tags],
        )
        if stored != episode.external_id:
            logged = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(Episode))
            logged.filter(object_id=str(episode.pk)).update(object_repr=stored)


def _redact_export_queries(collection: Collection, texts: Texts) -> None:
    """What an export was asked for by a name that no episode has any more, so that writing it again finds the same."""
    episodes = Episode.objects.filter(collection=collection)
    lookups = {"episode": "external_id", "tag": "tags__contains"}
    for export in Export.objects.filter(collection=collection, query__has_any_keys=list(lookups)):
        query = dict(export.query)
        for name in query.keys() & lookups.keys():
            asked = query[name] if name == "episode" else [query[name]]
            if not episodes.filter(**{lookups[name]: asked}).exists():
                query[name] = texts.clean(query[name])
        if query != export.query:
            Export.objects.filter(pk=export.pk).update(query=query)


def _free_name(episode: Episode, name: str) -> str:
    """``name``, cut and numbered where the table wants it."""
    longest = Episode._meta.get_field("external_id").max_length or len(name)
    others = Episode.objects.filter(collection=episode.collection_id, robot=episode.robot_id).exclude(pk=episode.pk)
    stored, number = name[:longest], 1
    while others.filter(external_id=stored).exists():
        number += 1
        ending = f" ({number})"
        stored = name[: longest - len(ending)] + ending
    return stored


# --- restored backups ---


def purge_again() -> int:
    """Purge records that an older backup has brought back as they were. Returns how many. Reads the whole journal."""
    traces: dict[UUID, dict[str, Any]] = {}
    for info in object_store.list(layout.PURGES):
        entries = orjson.loads(object_store.get(info.key))["records"]
        traces |= {UUID(trace): entry for trace, entry in entries.items()}
    returned = forgotten.results_of(list(traces)) if traces else []
    wanted = InferenceResult.objects.sent().filter(pk__in=returned).filter(~_is_purged()).select_related("collection")
    texts = Texts(detect)
    done: dict[UUID, Collection] = {}
    for result in wanted.iterator(chunk_size=BATCH):
        with transaction.atomic():
            _take_up_again(result, traces[forgotten.trace(result.request_id)], texts)
        done[result.pk] = result.collection
    for collection in {collection.pk: collection for collection in done.values()}.values():
        _finish_begun(collection, Purged())
        maps.draw(collection)
        deletion.refresh_embeddings_file(collection)
        remembered.forget([collection.pk])
    return len(done)


def _take_up_again(result: InferenceResult, entry: Mapping[str, Any], texts: Texts) -> None:
    collection = result.collection
    twins = {
        camera: catalogue.enter(StoredBlob(**blob), ObjectKind.RAW, collection=collection)
        for camera, blob in entry["twins"].items()
    }
    told = {
        "instruction": texts.clean(result.instruction),
        "violations": orjson.dumps(texts.clean_value(result.safety_violations, fields=VIOLATION_FIELDS)),
    }
    PurgedRecord.objects.create(
        result_id=result.pk,
        collection=collection,
        raw=[result.images.get(camera, "") for camera in twins],
        twins=[twin.key for twin in twins.values()],
        remarks=entry["remarks"],
    )
    _redact_rows(result.request_id, told, twins, texts)
    _redact_what_hangs_on(collection, {result.pk}, {result.pk: told}, texts)
    _redact_finished_episodes(InferenceResult.objects.filter(pk=result.pk).values("episode"), texts)


def _write_journal(
    collection: Collection,
    results: Mapping[UUID, InferenceResult],
    twins: Mapping[UUID, Mapping[str, StoredObject]],
    told: Mapping[UUID, Mapping[str, Any]],
) -> None:
    """Beside the database, for ``purge_again``. Nobody finds the record by its trace."""
    entries = {
        str(forgotten.trace(results[identifier].request_id)): {
            "twins": {
                camera: {"key": twin.key, "bytes": twin.bytes, "sha256": twin.sha256} for camera, twin in found.items()
            },
            "remarks": _camera_remarks(told[identifier]["quality"]),
        }
        for identifier, found in twins.items()
    }
    document = orjson.dumps({"collection": str(collection.pk), "records": entries}, option=orjson.OPT_SORT_KEYS)
    catalogue.store(layout.purge_key(timezone.now(), uuid7()), document, kind=ObjectKind.AUDIT)


# --- the raw objects ---


def _finish_begun(collection: Collection, purged: Purged, run: PipelineRun | None = None) -> None:
    """Delete the raw objects of records that show their twins by now, and what was made of the raw pictures.

    They are counted in the report of ``run``.
    """
    begun = PurgedRecord.objects.filter(collection=collection, raw_deleted_at=None).order_by("pk")
    while keys := dict(begun.values_list("pk", "raw")[:BATCH]):
        results = InferenceResult.objects.filter(pk__in=keys).values_list("pk", "request_id", "created_at")
        known = [RawRecord(request, at, {key: key for key in keys[pk]}) for pk, request, at in results]
        renewal.renew_pictures(list(keys))
        objects = raw.objects_of(known, collection.slug)
        object_store.delete(info.key for info in objects)
        size = sum(info.bytes for info in objects)
        with transaction.atomic():
            StoredObject.objects.filter(key__in=[info.key for info in objects]).delete()
            PurgedRecord.objects.filter(pk__in=keys).update(raw_deleted_at=timezone.now())
            if run is not None:
                _add_to_report(run, objects=len(objects), bytes=size)
        purged.objects += len(objects)
        purged.bytes += size


def _held_folders(collection: Collection) -> set[str]:
    held = StoredObject.objects.filter(collection=collection, legal_hold=True, key__startswith="raw/")
    return {key.rpartition("/")[0] + "/" for key in held.values_list("key", flat=True)}


def _raw_record(result: InferenceResult) -> RawRecord:
    return RawRecord(result.request_id, result.created_at, result.images)


def _is_purged() -> Exists:
    return Exists(PurgedRecord.objects.filter(pk=OuterRef("pk")))
