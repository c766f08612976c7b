"""One policy version at work in one worker: its queue is read, its batches run, its chunks checked."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import redis
import structlog
from django.conf import settings

from collections_app import snapshots
from core.dedicated_redis import DedicatedRedis
from core.redis import UNAVAILABLE, engine_redis
from inference import images
from inference.engine import keys, scripts
from inference.engine.arrivals import Arrivals
from inference.engine.batcher import Batched, Batcher, QueueFullError
from inference.engine.clock import RedisClock
from inference.engine.finisher import Finished
from inference.engine.submission import EncodedImage, QueuedItem, from_fields
from inference.exceptions import AcceleratorOutOfMemoryError, ImageRefusedError, PolicyOutputError
from inference.policies.base import ActionChunk, Observation, Policy
from inference.results import answer_body
from inference.safety import SafetyChecker, SafetyVerdict

logger = structlog.get_logger(__name__)

_CACHE_SECONDS = 3600
# A reader without work looks up this often to see whether it should stop.
_LOOK_UP_SECONDS = 0.1
_REJECTIONS_OPEN_CIRCUIT = 20


@dataclass(slots=True)
class Prepared:
    """An item with its observation decoded, ready for the model."""

    item: QueuedItem
    observation: Observation
    checker: SafetyChecker
    cache_key: str | None


@dataclass(slots=True)
class Checked:
    """The policy's chunk and the safety check's verdict on it."""

    chunk: ActionChunk
    verdict: SafetyVerdict


class ServedVersion:
    """Reads ``queue:<version>`` and hands finished items to ``finish``. One reader and one model thread."""

    def __init__(
        self,
        *,
        version_id: uuid.UUID,
        name: str,
        version: str,
        policy: Policy,
        worker_name: str,
        clock: RedisClock,
        decoders: Executor,
        finish: Callable[[Finished], None],
        max_batch: int,
    ) -> None:
        self.version_id = version_id
        self.name = name
        self.version = version
        self.policy = policy
        self._worker_name = worker_name
        self._clock = clock
        self._decoders = decoders
        self._finish = finish
        self._checkers: dict[str, tuple[snapshots.CollectionSnapshot, SafetyChecker]] = {}
        self._failures = 0
        self._rejections = 0
        self._fail_script = engine_redis().register_script(scripts.FAIL)
        self._batcher: Batcher[Prepared, Checked | PolicyOutputError] = Batcher(
            self._run,
            max_batch=max_batch,
            max_waiting=max_batch * 2,
            name=f"model-{name}@{version}",
            expired=lambda prepared: self._is_expired(prepared.item),
            arrivals=Arrivals(),
        )
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"reader-{name}@{version}", daemon=True)
        self._reader.start()

    def close(self, timeout: float = 30.0) -> None:
        """Read no more, finish what was read, release the policy."""
        self._stopping.set()
        self._reader.join(timeout)
        self._batcher.close(timeout)
        self.policy.close()

    @property
    def idle(self) -> bool:
        """Nothing read and unfinished, nothing in the queue."""
        return self._batcher.idle and engine_redis().xlen(keys.queue(self.version_id)) == 0

    def adopt(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        """Serve entries that a dead worker had read."""
        self._accept(entries)

    # --- reading ---

    def _read(self) -> None:
        stream = keys.queue(self.version_id)
        client = DedicatedRedis()
        group = ("GROUP", keys.WORKERS_GROUP, self._worker_name)
        block_ms = int(_LOOK_UP_SECONDS * 1000)
        grouped = False
        while not self._stopping.is_set():
            try:
                if not grouped:
                    _ensure_group(stream)
                    grouped = True
                room = self._batcher.wait_for_room(_LOOK_UP_SECONDS)
                if not room:
                    continue
                found = client.execute("XREADGROUP", *group, "COUNT", room, "BLOCK", block_ms, "STREAMS", stream, ">")
            except UNAVAILABLE:
                self._stopping.wait(0.1)
                continue
            except redis.exceptions.ResponseError:
                # The stream was lost with its group (NOGROUP): a Redis without its data.
                grouped = False
                self._stopping.wait(0.1)
                continue
            if found:
                (entries,) = found.values()
                self._accept([(entry_id, _pairs(values)) for entry_id, values in entries])
        client.close()

    def _accept(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> None:
        items = []
        for entry_id, fields in entries:
            if not fields:  # withdrawn between delivery and reading
                continue
            items.append(QueuedItem(entry_id, from_fields(fields), fields, fields[b"probe"] == b"1"))
        outcomes = map(self._prepare, items) if len(items) == 1 else self._decoders.map(self._prepare, items)
        for item, prepared in zip(items, outcomes, strict=True):
            if isinstance(prepared, Finished):
                self._finish(prepared)
                continue
            try:
                source = (item.submission.collection_id, item.submission.robot or item.submission.reply_to)
                future = self._batcher.submit(prepared, source=source)
            except QueueFullError:
                self._finish(self.problem(item, 503, "overloaded", "The queue is full.", retry_after=1))
                continue
            future.add_done_callback(lambda done, prepared=prepared: self._done(prepared, done))  # type: ignore[misc]

    def _prepare(self, item: QueuedItem) -> Prepared | Finished:
        """``_decode``, whatever it raises: one observation must not end the reader that serves all robots."""
        try:
            return self._decode(item)
        except Exception:
            logger.exception("observation.not_prepared", policy=f"{self.name}@{self.version}")
            return self.problem(item, 500, "internal_error", "Something went wrong on our side.")

    def _decode(self, item: QueuedItem) -> Prepared | Finished:
        """Decode and fit the images and find the safety rules; a ``Finished`` where the item ends here."""
        if self._is_expired(item):
            return self.problem(item, 504, "deadline_exceeded", "No answer before the deadline.")
        submission = item.submission
        snapshot = snapshots.get(submission.collection_slug)
        if snapshot is None:
            return self.problem(item, 404, "not_found", "No such collection.")
        pixels = {}
        for camera, image in submission.images.items():
            try:
                decoded = images.decode(image.data) if isinstance(image, EncodedImage) else image.array()
            except ImageRefusedError as error:
                return self.problem(
                    item, 400, "invalid", "The request is not valid.", {f"/images/{camera}": str(error)}
                )
            pixels[camera] = images.fit(decoded, self.policy.info.image_size)
        wanted = self.policy.info.cameras
        if not set(wanted) <= pixels.keys():
            # A policy with camera names of its own meets the collection's cameras in their order.
            pixels = dict(
                zip(wanted, (pixels[camera] for camera in snapshot.cameras if camera in pixels), strict=False)
            )
        observation = Observation(pixels, np.asarray(submission.state, np.float32), submission.instruction)
        cache_key = self._cache_key(item, snapshot) if submission.use_cache and snapshot.cache_enabled else None
        if cache_key is not None:
            cached = engine_redis().get(cache_key)
            if cached is not None:
                return self._from_cache(item, orjson.loads(cached))
        return Prepared(item, observation, self._checker(snapshot), cache_key)

    def _checker(self, snapshot: snapshots.CollectionSnapshot) -> SafetyChecker:
        known = self._checkers.get(snapshot.slug)
        if known is None or known[0] is not snapshot:
            checker = SafetyChecker(
                snapshot.dimensions,
                control_rate_hz=snapshot.control_rate_hz,
                mode=snapshot.safety_mode,
                state_names=snapshot.state_names,
            )
            known = self._checkers[snapshot.slug] = (snapshot, checker)
        return known[1]

    def _is_expired(self, item: QueuedItem) -> bool:
        return not item.submission.is_shadow and self._clock.now_ms() > item.expires_ms

    # --- the model's thread ---

    def _run(self, batch: Sequence[Prepared]) -> list[Checked | PolicyOutputError]:
        """One batch. It fails once for the circuit, however many robots are in it."""
        probing = any(prepared.item.probing for prepared in batch)
        try:
            outcomes = self._infer(batch)
        except Exception as error:
            splits = isinstance(error, AcceleratorOutOfMemoryError) and len(batch) > 1
            if not splits:
                self._count_failure(probing)
            raise
        if any(isinstance(outcome, PolicyOutputError) for outcome in outcomes):
            self._count_failure(probing)
        return outcomes

    def _infer(self, batch: Sequence[Prepared]) -> list[Checked | PolicyOutputError]:
        try:
            chunks = self.policy.infer([prepared.observation for prepared in batch])
        except MemoryError as error:
            raise AcceleratorOutOfMemoryError(str(error)) from error
        if len(chunks) != len(batch):
            raise PolicyOutputError(f"The policy returned {len(chunks)} chunks for {len(batch)} observations.")
        outcomes: list[Checked | PolicyOutputError | None] = [None] * len(batch)
        groups: dict[int, list[int]] = {}
        for index, (prepared, chunk) in enumerate(zip(batch, chunks, strict=True)):
            problem = self._malformed(chunk, prepared.checker)
            if problem is not None:
                outcomes[index] = problem
            else:
                groups.setdefault(id(prepared.checker), []).append(index)
        for indexes in groups.values():
            checker = batch[indexes[0]].checker
            states = np.array([batch[i].item.submission.state for i in indexes]) if checker.has_workspace else None
            verdicts = checker.check(np.stack([chunks[i].actions for i in indexes]), states)
            for i, verdict in zip(indexes, verdicts, strict=True):
                outcomes[i] = Checked(chunks[i], verdict)
        return [outcome for outcome in outcomes if outcome is not None]

    def _malformed(self, chunk: ActionChunk, checker: SafetyChecker) -> PolicyOutputError | None:
        wanted = (self.policy.info.horizon, len(checker.names))
        if np.shape(chunk.actions) != wanted:
            return PolicyOutputError(f"The policy returned a chunk of shape {np.shape(chunk.actions)}, not {wanted}.")
        if not np.isfinite(chunk.actions).all():
            return PolicyOutputError("The policy returned a value that is not a finite number.")
        if chunk.confidence is not None and not 0 <= chunk.confidence <= 1:
            return PolicyOutputError(f"The policy returned the confidence {chunk.confidence!r}, which is not in 0..1.")
        return None

    def _done(self, prepared: Prepared, future: Future[Batched[Checked | PolicyOutputError]]) -> None:
        try:
            self._end(prepared, future)
        except Exception:  # a future would swallow it, and the robot would wait for nothing
            logger.exception("answer.not_made", policy=f"{self.name}@{self.version}")
            self._finish(self.problem(prepared.item, 500, "internal_error", "Something went wrong on our side."))

    def _end(self, prepared: Prepared, future: Future[Batched[Checked | PolicyOutputError]]) -> None:
        item = prepared.item
        if future.cancelled():
            self._finish(self.problem(item, 504, "deadline_exceeded", "No answer before the deadline."))
            return
        error = future.exception()
        if error is None and isinstance(future.result().result, PolicyOutputError):
            error = future.result().result  # type: ignore[assignment]
        if error is not None:
            logger.warning("policy.failed", policy=f"{self.name}@{self.version}", error=repr(error))
            self._finish(self.problem(item, 502, "policy_failed", "The policy failed on this observation."))
            return
        batched = future.result()
        checked = batched.result
        assert isinstance(checked, Checked)
        # Before the answer leaves: the next request meets the circuit as this one left it.
        if checked.verdict.verdict == "rejected":
            self._count_rejection(item.probing)
        else:
            self._count_success()
        self._finish(
            self._answered(
                prepared.item,
                actions=checked.verdict.actions,
                safety=checked.verdict.as_dict(),
                timing=self._timing(item, batched),
                cached=False,
                proposed=None if checked.verdict.verdict == "pass" else np.asarray(checked.chunk.actions).tolist(),
                confidence=None if checked.chunk.confidence is None else float(checked.chunk.confidence),
                cache_key=prepared.cache_key,
            )
        )

    def _timing(self, item: QueuedItem, batched: Batched[Any]) -> dict[str, Any]:
        now = time.monotonic()
        now_ms = self._clock.now_ms_precise()
        started_ms = now_ms - (now - batched.started_at) * 1000
        return {
            "queue_ms": round(max(0.0, started_ms - item.queued_ms), 3),
            "inference_ms": round(batched.seconds * 1000, 3),
            "total_ms": round(max(batched.seconds * 1000, (time.time() - item.submission.accepted_at) * 1000), 3),
            "batch_size": batched.batch_size,
        }

    # --- ends ---

    def _answered(
        self,
        item: QueuedItem,
        *,
        actions: list[list[float]],
        safety: dict[str, Any],
        timing: dict[str, Any],
        cached: bool,
        proposed: list[list[float]] | None = None,
        confidence: float | None = None,
        cache_key: str | None = None,
    ) -> Finished:
        submission = item.submission
        body = answer_body(
            request_id=submission.request_id,
            actions=actions,
            model_name=self.name,
            model_version=self.version,
            safety=safety,
            cached=cached,
            timing=timing,
        )
        extra = orjson.dumps({"proposed": proposed, "confidence": confidence})
        record: list[bytes | str] = [
            *("digest", submission.digest, "answer", body, "extra", extra, "bytes", str(item.size))
        ]
        for name, value in item.fields.items():
            if name not in (b"digest", b"probe"):
                record += [name, value]
        if cache_key is not None:
            with suppress(*UNAVAILABLE):
                remembered = {"actions": actions, "safety": safety, "proposed": proposed, "confidence": confidence}
                engine_redis().set(cache_key, orjson.dumps(remembered), ex=_CACHE_SECONDS)
        return Finished(
            item,
            200,
            body,
            self._answer_key(item),
            record,
            confirms_probe=item.probing and safety["verdict"] != "rejected",
        )

    def _from_cache(self, item: QueuedItem, cached: dict[str, Any]) -> Finished:
        total_ms = round((time.time() - item.submission.accepted_at) * 1000, 3)
        timing = {"queue_ms": total_ms, "inference_ms": 0.0, "total_ms": total_ms, "batch_size": 0}
        return self._answered(item, **cached, timing=timing, cached=True)

    def problem(
        self,
        item: QueuedItem,
        status: int,
        code: str,
        detail: str,
        errors: dict[str, str] | None = None,
        *,
        retry_after: float | None = None,
    ) -> Finished:
        """The end of an item that is not answered; nothing of it is recorded."""
        body: dict[str, Any] = {"code": code, "detail": detail, "retry_after": retry_after}
        if errors:
            body["errors"] = [{"pointer": pointer, "detail": told} for pointer, told in errors.items()]
        return Finished(item, status, orjson.dumps(body), self._answer_key(item))

    def _answer_key(self, item: QueuedItem) -> str:
        request = item.submission.request_id.hex
        return keys.answer(f"{request}:{self.version_id.hex}" if item.submission.is_shadow else request)

    def _cache_key(self, item: QueuedItem, snapshot: snapshots.CollectionSnapshot) -> str:
        submission = item.submission
        # What was safe under other limits is not an answer under these.
        rules = [snapshot.safety_mode, snapshot.control_rate_hz, snapshot.dimensions]
        digest = hashlib.sha256(orjson.dumps([snapshot.id, rules, submission.instruction, submission.state]))
        for camera in sorted(submission.images):
            digest.update(camera.encode() + submission.images[camera].data)
        return keys.result_cache(self.version_id, digest.hexdigest())

    # --- the circuit ---

    def _count_failure(self, probing: bool) -> None:
        self._failures += 1
        self._trip(probing)

    def _count_rejection(self, probing: bool) -> None:
        self._rejections += 1
        if probing or self._rejections >= _REJECTIONS_OPEN_CIRCUIT:
            self._rejections = 0
            self._trip(True)

    def _trip(self, at_once: bool) -> None:
        limits = settings.INFERENCE
        try:
            is_open = self._fail_script(
                keys=[keys.circuit(self.version_id), keys.probe(self.version_id)],
                args=[limits["CIRCUIT_FAILURES"], limits["CIRCUIT_OPEN_MS"], "1" if at_once else "0"],
            )
        except UNAVAILABLE:
            return
        if is_open:
            logger.error("circuit.opened", policy=f"{self.name}@{self.version}")

    def _count_success(self) -> None:
        self._rejections = 0
        if self._failures:
            self._failures = 0
            try:
                engine_redis().hdel(keys.circuit(self.version_id), "failures")
            except UNAVAILABLE:
                self._failures = 1  # tried again with the next success


def _pairs(values: list[bytes] | None) -> dict[bytes, bytes]:
    """A stream entry's fields; none where it was deleted between delivery and reading."""
    return dict(zip(values[::2], values[1::2], strict=True)) if values else {}


def _ensure_group(stream: str) -> None:
    try:
        engine_redis().xgroup_create(stream, keys.WORKERS_GROUP, id="0", mkstream=True)
    except redis.exceptions.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
