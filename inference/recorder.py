"""The recorder: answered observations from Redis into PostgreSQL rows and stored objects, then acknowledged.

It reads the stream ``records`` as one of a consumer group, so several recorders share the work and one takes over what
a dead one held. Every write is idempotent by request id: objects first, then rows, then the acknowledgement, and each
may be repeated after a crash at any point.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, connections, transaction

from collections_app.models import Collection, Robot
from core import object_store
from core.identifiers import uuid7
from core.redis import UNAVAILABLE, engine_redis
from inference import forgotten
from inference.engine import keys, scripts
from inference.engine.submission import EncodedImage, Submission, from_fields
from inference.exceptions import ImageRefusedError
from inference.image_containers import only_the_picture
from inference.images import encode_jpeg
from inference.models import InferenceRequest, InferenceResult, PolicyVersion
from inference.result_rows import copy_results
from inference.signals import results_recorded

logger = structlog.get_logger(__name__)

_CLAIM_IDLE_MS = 10_000
_CLAIM_EVERY_SECONDS = 5.0
# Records are safe where they wait. Written a quarter of a second's at a time, they take less of the processor that the
# robots' next requests need.
_GATHER_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of the recorder's stream, decoded."""

    entry_id: bytes
    submission: Submission
    answer: dict[str, Any]
    extra: dict[str, Any]
    size: int

    @property
    def created_at(self) -> datetime:
        return datetime.fromtimestamp(self.submission.accepted_at, UTC)

    @property
    def answer_key(self) -> str:
        request = self.submission.request_id.hex
        version = self.submission.version_id.hex
        return keys.answer(f"{request}:{version}" if self.submission.is_shadow else request)

    @property
    def folder(self) -> str:
        """Where its objects lie, contract section 7."""
        submission = self.submission
        return f"raw/{self.created_at:%Y-%m-%d}/collection_{submission.collection_slug}/{submission.request_id}"


class ForgottenMeanwhileError(Exception):
    """A record was deleted between two looks at the ledger: the batch is read again, without it."""


class Recorder:
    """Runs on a thread of its own inside a Celery worker; ``start`` and ``stop`` are called by the worker."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._stopping = threading.Event()
        # Uploads wait for the network; local files do not, and more threads would only wait for each other.
        uploads = 8 if settings.S3_BUCKET else 1
        self._uploads = ThreadPoolExecutor(max_workers=uploads, thread_name_prefix="upload")
        self._settle = engine_redis().register_script(scripts.SETTLE)
        self._thread = threading.Thread(target=self._loop, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what was read, then end; the rest stays in the stream for the next recorder."""
        self._stopping.set()
        self._thread.join(30)
        self._uploads.shutdown()

    def drain(self) -> int:
        """Record everything that waits now; how many. For tests and commands, on the caller's thread."""
        count = 0
        self._ensure_group()
        while entries := self._read(block=None):
            count += self._record(entries)
        return count

    def _loop(self) -> None:
        grouped = False
        pause = 0.1
        next_claim = 0.0
        while not self._stopping.is_set():
            try:
                if not grouped:
                    self._ensure_group()
                    self._record(self._read(block=None, start="0"))
                    grouped = True
                if time.monotonic() > next_claim:
                    self._record(self._claim())
                    next_claim = time.monotonic() + _CLAIM_EVERY_SECONDS
                if 0 < self._record(self._read(block=500)) < settings.INFERENCE["RECORDER_BATCH"]:
                    self._stopping.wait(_GATHER_SECONDS)
                pause = 0.1
            except (*UNAVAILABLE, redis.exceptions.ResponseError, DatabaseError) as error:
                # Nothing is acknowledged, so nothing is lost: the same entries are read again from the start.
                logger.warning("recorder.waits", error=repr(error)[:200])
                grouped = False
                self._stopping.wait(pause)
                pause = min(pause * 2, 5.0)
            except ForgottenMeanwhileError:
                grouped = False
            except Exception:
                logger.exception("recorder.failed")
                grouped = False
                self._stopping.wait(pause)
                pause = min(pause * 2, 5.0)
            finally:
                close_old_connections()
        connections.close_all()

    # --- reading ---

    def _ensure_group(self) -> None:
        try:
            engine_redis().xgroup_create(keys.records(), keys.RECORDERS_GROUP, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _read(self, *, block: int | None, start: str = ">") -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
        found = engine_redis().xreadgroup(
            keys.RECORDERS_GROUP,
            self.name,
            {keys.records(): start},
            count=settings.INFERENCE["RECORDER_BATCH"],
            block=block,
        )
        return found[0][1] if found else []

    def _claim(self) -> Sequence[tuple[bytes, dict[bytes, bytes]]]:
        answer = engine_redis().xautoclaim(
            keys.records(),
            keys.RECORDERS_GROUP,
            self.name,
            min_idle_time=_CLAIM_IDLE_MS,
            count=settings.INFERENCE["RECORDER_BATCH"],
        )
        return answer[1]

    # --- writing ---

    def _record(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> int:
        if not entries:
            return 0
        records = [_decode(entry_id, fields) for entry_id, fields in entries if fields]
        known = self._collections({record.submission.collection_id for record in records})
        kept = [record for record in records if record.submission.collection_id in known]
        if len(kept) < len(records):
            logger.warning("recorder.collection_gone", records=len(records) - len(kept))
        kept = self._without_forgotten(kept)
        objects = self._write_objects(self._without_recorded(kept))
        with transaction.atomic():
            written = self._write_rows(kept, objects)
        arguments: list[bytes | str | int] = [keys.RECORDERS_GROUP, settings.INFERENCE["ANSWER_SECONDS"]]
        for record in records:
            arguments += [record.entry_id, record.answer_key, record.size]
        self._settle(keys=[keys.records(), keys.backlog()], args=arguments)
        for collection_id, result_ids in written.items():
            results_recorded.send_robust(sender=type(self), collection_id=collection_id, result_ids=result_ids)
        return len(records)

    def _without_forgotten(self, records: Sequence[Record]) -> list[Record]:
        """Those whose record was not deleted since: an entry that is read again brings none back."""
        gone = forgotten.among(record.submission.request_id for record in records)
        # Whoever looked a moment before the deletion may have written its objects again.
        stray = forgotten.without_objects(gone) if gone else set()
        for record in records:
            if record.submission.request_id in stray:
                object_store.delete([info.key for info in object_store.list(f"{record.folder}/")])
        return [record for record in records if record.submission.request_id not in gone]

    def _without_recorded(self, records: Sequence[Record]) -> list[Record]:
        """Those whose objects are not written yet. An entry that is read again after its row was committed writes none:
        its objects were there before the row, and since then they may have been purged.
        """
        written = set(
            InferenceRequest.objects.filter(pk__in={record.submission.request_id for record in records}).values_list(
                "pk", flat=True
            )
        )
        return [r for r in records if not r.submission.is_shadow and r.submission.request_id not in written]

    def _collections(self, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        return set(Collection.objects.filter(pk__in=list(ids)).values_list("pk", flat=True))

    def _write_objects(self, records: Sequence[Record]) -> dict[uuid.UUID, dict[str, str]]:
        """Images and record.json of each record; returns camera to key for each request."""
        done = self._uploads.map(_write_record, records)
        return {record.submission.request_id: images for record, images in zip(records, done, strict=True)}

    def _write_rows(
        self, records: Sequence[Record], objects: Mapping[uuid.UUID, dict[str, str]]
    ) -> dict[uuid.UUID, list[uuid.UUID]]:
        """Insert ledger and result rows once; returns the new results' ids by collection."""
        # Of two answers to one request, as after Redis forgot the first, the first one stands.
        first = {
            record.submission.request_id: record for record in reversed(records) if not record.submission.is_shadow
        }
        answered = list(reversed(first.values()))
        new = self._enter_in_ledger(answered)
        shadows = self._new_shadows([record for record in records if record.submission.is_shadow])
        rows = [record for record in answered if record.submission.request_id in new] + shadows
        if not rows:
            return {}
        robots = _upsert_robots(rows)
        episodes = _upsert_episodes(rows, robots)
        versions = set(
            PolicyVersion.objects.filter(pk__in={r.submission.version_id for r in rows}).values_list("pk", flat=True)
        )
        results = [_result(record, objects, robots, episodes, versions) for record in rows]
        copy_results(results)
        written: dict[uuid.UUID, list[uuid.UUID]] = {}
        for result in results:
            if not result.shadow:
                written.setdefault(result.collection_id, []).append(result.pk)
        return written

    def _enter_in_ledger(self, records: Sequence[Record]) -> set[uuid.UUID]:
        """The requests that no recorder has written before."""
        if not records:
            return set()
        # Sorted, so that two recorders with overlapping batches wait for each other instead of deadlocking.
        ordered = sorted(records, key=lambda record: record.submission.request_id)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO inference_requests (request_id, collection_id, digest, created_at) "
                "SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::bytea[], %s::timestamptz[]) "
                "ON CONFLICT (request_id) DO NOTHING RETURNING request_id",
                [
                    [record.submission.request_id for record in ordered],
                    [record.submission.collection_id for record in ordered],
                    [record.submission.digest for record in ordered],
                    [record.created_at for record in ordered],
                ],
            )
            new = {row[0] for row in cursor.fetchall()}
        if forgotten.among(new):
            raise ForgottenMeanwhileError
        return new

    def _new_shadows(self, records: Sequence[Record]) -> list[Record]:
        unique = {(r.submission.request_id, r.submission.version_id): r for r in records}
        if not unique:
            return []
        written = set(
            InferenceResult.objects.filter(shadow=True, request_id__in={request for request, _ in unique}).values_list(
                "request_id", "policy_version_id"
            )
        )
        return [record for pair, record in unique.items() if pair not in written]


def _decode(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Record:
    return Record(
        entry_id=entry_id,
        submission=from_fields(fields),
        answer=orjson.loads(fields[b"answer"]),
        extra=orjson.loads(fields[b"extra"]),
        size=int(fields[b"bytes"]),
    )


def _write_record(record: Record) -> dict[str, str]:
    submission = record.submission
    images = {}
    for camera, image in submission.images.items():
        data = _stored_picture(image) if isinstance(image, EncodedImage) else encode_jpeg(image.array())
        extension = "png" if isinstance(image, EncodedImage) and image.format == "png" else "jpg"
        images[camera] = f"{record.folder}/{camera}.{extension}"
        object_store.put(images[camera], data)
    document = {
        **record.answer,
        "collection": submission.collection_slug,
        "robot": submission.robot,
        "episode": submission.episode,
        "step": submission.step,
        "instruction": submission.instruction,
        "state": submission.state,
        "images": {camera: key.rsplit("/", 1)[1] for camera, key in images.items()},
        "proposed_actions": record.extra["proposed"],
        "created_at": record.created_at.isoformat(),
    }
    object_store.put(f"{record.folder}/record.json", orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return images


def _stored_picture(image: EncodedImage) -> bytes:
    """The picture alone. What was answered is kept in any case: a file that cannot be cleaned is kept as it came."""
    try:
        return only_the_picture(image.data, image.format)
    except ImageRefusedError:
        logger.warning("recorder.image_kept_as_it_came", bytes=len(image.data))
        return image.data


def _upsert_robots(records: Sequence[Record]) -> dict[tuple[uuid.UUID, str], uuid.UUID]:
    """Robots by collection and name, made where they speak for the first time."""
    seen: dict[tuple[uuid.UUID, str], datetime] = {}
    for record in records:
        if record.submission.robot:
            name = (record.submission.collection_id, record.submission.robot)
            seen[name] = max(seen.get(name, record.created_at), record.created_at)
    robots = Robot.objects.bulk_create(
        [
            Robot(collection_id=collection, name=name, last_seen_at=at)
            for (collection, name), at in sorted(seen.items(), key=lambda item: (str(item[0][0]), item[0][1]))
        ],
        update_conflicts=True,
        update_fields=["last_seen_at"],
        unique_fields=["collection", "name"],
    )
    found = Robot.objects.filter(
        collection__in={collection for collection, _ in seen}, name__in={robot.name for robot in robots}
    )
    return {(robot.collection_id, robot.name): robot.pk for robot in found}


def _upsert_episodes(
    records: Sequence[Record], robots: Mapping[tuple[uuid.UUID, str], uuid.UUID]
) -> dict[tuple[uuid.UUID, uuid.UUID | None, str], uuid.UUID]:
    """Episodes by collection, robot and external id, begun or moved on."""
    groups: dict[tuple[uuid.UUID, uuid.UUID | None, str], list[Record]] = {}
    for record in records:
        submission = record.submission
        if submission.episode and not submission.is_shadow:
            robot = robots.get((submission.collection_id, submission.robot))
            groups.setdefault((submission.collection_id, robot, submission.episode), []).append(record)
    if not groups:
        return {}
    # In one order everywhere, so that two recorders with the same episodes wait for each other instead of deadlocking.
    ordered = sorted(groups.items(), key=lambda item: [str(part) for part in item[0]])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO episodes (id, collection_id, robot_id, external_id, instruction, step_count, started_at, "
            "ended_at, outcome, tags, created_at) "
            "SELECT *, '', '{}', now() FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::text[], "
            "%s::int[], %s::timestamptz[], %s::timestamptz[]) "
            "ON CONFLICT (collection_id, robot_id, external_id) DO UPDATE SET "
            "step_count = episodes.step_count + EXCLUDED.step_count, "
            "started_at = least(episodes.started_at, EXCLUDED.started_at), "
            "ended_at = greatest(episodes.ended_at, EXCLUDED.ended_at) "
            "RETURNING collection_id, robot_id, external_id, id",
            [
                [uuid7() for _ in ordered],
                [collection for (collection, _, _), _ in ordered],
                [robot for (_, robot, _), _ in ordered],
                [external_id for (_, _, external_id), _ in ordered],
                [group[0].submission.instruction for _, group in ordered],
                [len(group) for _, group in ordered],
                [min(record.created_at for record in group) for _, group in ordered],
                [max(record.created_at for record in group) for _, group in ordered],
            ],
        )
        return {(collection, robot, external_id): found for collection, robot, external_id, found in cursor.fetchall()}


def _result(
    record: Record,
    objects: Mapping[uuid.UUID, dict[str, str]],
    robots: Mapping[tuple[uuid.UUID, str], uuid.UUID],
    episodes: Mapping[tuple[uuid.UUID, uuid.UUID | None, str], uuid.UUID],
    versions: set[uuid.UUID],
) -> InferenceResult:
    submission, answer = record.submission, record.answer
    robot = robots.get((submission.collection_id, submission.robot))
    safety, timing = answer["safety"], answer["timing"]
    return InferenceResult(
        request_id=submission.request_id,
        collection_id=submission.collection_id,
        robot_id=robot,
        episode_id=episodes.get((submission.collection_id, robot, submission.episode)),
        step=submission.step,
        instruction=submission.instruction,
        policy_version_id=submission.version_id if submission.version_id in versions else None,
        model_name=answer["model"]["name"],
        model_version=answer["model"]["version"],
        shadow=submission.is_shadow,
        input_state=submission.state,
        output_actions=answer["actions"],
        proposed_actions=record.extra["proposed"],
        images=objects.get(submission.request_id, {}),
        safety_score=safety["score"],
        safety_verdict=safety["verdict"],
        safety_violations=safety["violations"],
        confidence=record.extra["confidence"],
        cached=answer["cached"],
        queue_ms=timing["queue_ms"],
        inference_time_ms=timing["inference_ms"],
        total_ms=timing["total_ms"],
        batch_size=timing["batch_size"],
        created_at=record.created_at,
    )
