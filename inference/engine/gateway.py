"""The web process's side of the engine: queue an observation, await its answer.

One gateway serves one event loop. Answers come back over one channel of the process and are matched by request id;
nobody polls, and no thread waits for a result.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import msgpack
import orjson
import redis.asyncio
import structlog
from channels.db import database_sync_to_async
from django.conf import settings

from accounts.credentials import Credential
from accounts.rate_limits import RateLimitState, bucket_arguments, refusal
from core.identifiers import unix_milliseconds
from core.problems import FieldError, Problem
from core.redis import UNAVAILABLE
from core.shared_redis import new_shared_engine_redis, subscribed
from inference.engine import keys, scripts
from inference.engine.submission import Submission, to_fields
from inference.results import stored_answer

logger = structlog.get_logger(__name__)

_RECORDED_LOOK_UP_AGE_MS = 300_000


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200: the JSON body, whether it is a repeat of a stored one, and the rate limit's state after it."""

    body: bytes
    replayed: bool
    rate_limit: RateLimitState


def unavailable(detail: str = "The service is restarting; try again.", *, retry_after: float = 1.0) -> Problem:
    return Problem(503, "unavailable", detail, retry_after=retry_after)


class Gateway:
    """Queues submissions and hands out their answers. Use ``gateway()`` for the running loop's own."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.redis = new_shared_engine_redis()
        self._submit = self.redis.register_script(scripts.SUBMIT)
        self._withdraw = self.redis.register_script(scripts.WITHDRAW)
        self._waiting: dict[str, asyncio.Future[tuple[int, bytes]]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def ask(self, submission: Submission, credential: Credential, *, client_chose_id: bool) -> Answer:
        """The answer to ``submission``, whose ``reply_to`` is ``name``.

        Raises ``Problem``: 409, 429, 503, 504, or what the worker found.
        """
        await self._ensure_listening()
        if client_chose_id and await self._may_be_recorded(submission.request_id):
            stored = await database_sync_to_async(stored_answer)(submission.request_id, submission.digest)
            if stored is not None:
                return Answer(stored, True, RateLimitState(True, 0, 0, 0.0, 0.0))
        request_id = submission.request_id.hex
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        first = request_id not in self._waiting
        if first:
            self._waiting[request_id] = future
        try:
            outcome, state, detail = await self._queue(submission, credential)
            if outcome == b"queued":
                return await self._await_answer(submission, future, entry_id=detail, state=state)
            if outcome == b"replay":
                return Answer(detail, True, state)
            if outcome == b"in_flight":
                return Answer(await self._await_other(submission), True, state)
            if outcome == b"recorded":
                stored = await database_sync_to_async(stored_answer)(submission.request_id, submission.digest)
                if stored is not None:
                    return Answer(stored, True, state)
            _refuse(outcome, detail, credential, state)
        finally:
            if first:
                self._waiting.pop(request_id, None)

    async def close(self) -> None:
        """Stop listening and drop the connections."""
        while self._listener is not None and not self._listener.done():
            self._listener.cancel()  # more than once: what connects may swallow one
            await asyncio.wait([self._listener], timeout=0.1)
        await self.redis.aclose()

    # --- queueing ---

    async def _queue(self, submission: Submission, credential: Credential) -> tuple[bytes, RateLimitState, bytes]:
        bucket_keys, limits = bucket_arguments(credential)
        version = submission.version_id
        limits_of_engine = settings.INFERENCE
        try:
            outcome, bucket, detail = await self._submit(
                keys=[
                    *bucket_keys,
                    keys.answer(submission.request_id.hex),
                    keys.circuit(version),
                    keys.probe(version),
                    keys.queue(version),
                    keys.backlog(),
                ],
                args=[
                    *limits,
                    submission.digest,
                    limits_of_engine["MAX_QUEUE"],
                    limits_of_engine["RECORDER_BACKLOG_BYTES"],
                    limits_of_engine["ANSWER_SECONDS"],
                    submission.request_id.hex,
                    *to_fields(submission),
                ],
            )
        except redis.exceptions.ResponseError as error:
            # "OOM" is Redis refusing writes at maxmemory: the backlog's bound was set above what Redis has.
            logger.error("queue.refused", error=str(error))
            raise unavailable("The service cannot take more observations now.") from None
        except UNAVAILABLE:
            raise unavailable() from None
        return outcome, RateLimitState.from_lua(bucket), detail

    async def _await_answer(
        self,
        submission: Submission,
        future: asyncio.Future[tuple[int, bytes]],
        *,
        entry_id: bytes,
        state: RateLimitState,
    ) -> Answer:
        try:
            async with asyncio.timeout(submission.deadline_ms / 1000):
                status, body = await future
        except TimeoutError:
            late = await self._take_out(submission, entry_id)
            if late is None:
                raise Problem(
                    504, "deadline_exceeded", "No answer before the deadline.", headers=state.headers()
                ) from None
            status, body = 200, late
        except asyncio.CancelledError:
            # The caller left: whoever still waits in the queue makes room.
            with contextlib.suppress(*UNAVAILABLE):
                await asyncio.shield(self._take_out(submission, entry_id))
            raise
        if status != 200:
            raise problem_of_worker(status, body, state.headers())
        return Answer(body, False, state)

    async def _take_out(self, submission: Submission, entry_id: bytes) -> bytes | None:
        try:
            answer = await self._withdraw(
                keys=[keys.queue(submission.version_id), keys.answer(submission.request_id.hex)],
                args=[keys.WORKERS_GROUP, entry_id],
            )
        except UNAVAILABLE:
            return None
        return bytes(answer) if answer else None

    async def _await_other(self, submission: Submission) -> bytes:
        """The answer to the same request that somebody else queued, a moment ago and perhaps in another process."""
        end = time.monotonic() + submission.deadline_ms / 1000
        while time.monotonic() < end:
            with contextlib.suppress(*UNAVAILABLE):
                stored, recorded = await self.redis.hmget(keys.answer(submission.request_id.hex), ["a", "r"])
                if stored:
                    return bytes(stored)
                if recorded:
                    found = await database_sync_to_async(stored_answer)(submission.request_id, submission.digest)
                    if found is not None:
                        return bytes(found)
            await asyncio.sleep(0.01)
        raise Problem(504, "deadline_exceeded", "No answer before the deadline.")

    async def _may_be_recorded(self, request_id: uuid.UUID) -> bool:
        """Whether only PostgreSQL can say if the caller's id was used: not so for fresh UUIDv7s and ids Redis knows."""
        made_ms = unix_milliseconds(request_id)
        if made_ms is not None and abs(time.time() * 1000 - made_ms) < _RECORDED_LOOK_UP_AGE_MS:
            return False
        try:
            return not await self.redis.exists(keys.answer(request_id.hex))
        except UNAVAILABLE:
            raise unavailable() from None

    # --- listening ---

    async def _ensure_listening(self) -> None:
        if self._listener is None or self._listener.done():
            self._listening.clear()
            self._listener = asyncio.create_task(self._listen(), name="inference-replies")
        if not self._listening.is_set():
            try:
                async with asyncio.timeout(2):
                    await self._listening.wait()
            except TimeoutError:
                raise unavailable() from None

    async def _listen(self) -> None:
        while True:
            error: str = "closed"
            try:
                async with subscribed(self.redis, keys.replies(self.name), self._deliver) as lost:
                    await self._collect_missed()
                    self._listening.set()
                    await lost.wait()
            except UNAVAILABLE as unavailable:
                error = type(unavailable).__name__
            self._listening.clear()
            logger.warning("replies.disconnected", error=error, waiting=len(self._waiting))
            await asyncio.sleep(0.05)

    def _deliver(self, packed: bytes) -> None:
        for request_id, status, body in msgpack.unpackb(packed, raw=True):
            future = self._waiting.get(request_id.decode())
            if future is not None and not future.done():
                future.set_result((status, body))

    async def _collect_missed(self) -> None:
        """Answers given while no one listened: they were stored before they were published."""
        for request_id, future in list(self._waiting.items()):
            stored = await self.redis.hget(keys.answer(request_id), "a")
            if stored and not future.done():
                future.set_result((200, bytes(stored)))


def problem_of_worker(status: int, body: bytes, headers: Mapping[str, str]) -> Problem:
    """The problem that a worker answered with."""
    told: dict[str, Any] = orjson.loads(body)
    return Problem(
        status,
        told["code"],
        told["detail"],
        errors=[FieldError(**error) for error in told.get("errors", [])],
        retry_after=told.get("retry_after"),
        headers=dict(headers),
    )


def _refuse(outcome: bytes, detail: bytes, credential: Credential, state: RateLimitState) -> NoReturn:
    match outcome:
        case b"limited":
            raise refusal(credential, state)
        case b"conflict":
            raise Problem(
                409, "request_id_reused", "This request id was used for another request.", headers=state.headers()
            )
        case b"open":
            problem = unavailable(
                "The policy version fails; it is being given a rest.", retry_after=int(detail or b"1000") / 1000
            )
            problem.code = "circuit_open"
        case b"full":
            problem = unavailable("The queue is full.")
            problem.code = "overloaded"
        case _:
            problem = unavailable("Records wait to be written; no more are taken.", retry_after=2)
            problem.code = "recorder_behind"
    problem.headers = state.headers()
    raise problem


_gateways: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Gateway] = weakref.WeakKeyDictionary()


def gateway() -> Gateway:
    """The running event loop's gateway."""
    loop = asyncio.get_running_loop()
    found = _gateways.get(loop)
    if found is None:
        found = _gateways[loop] = Gateway()
    return found
