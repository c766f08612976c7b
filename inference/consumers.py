"""The sockets: ``/ws/inference`` for viewers, ``/ws/policy/{slug}`` for robots that speak openpi."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import Any, cast
from urllib.parse import parse_qs

import numpy as np
import orjson
import structlog
from channels.auth import get_user
from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.sessions.backends.cached_db import SessionStore
from django.db import DatabaseError

from accounts.authentication import person_of_jwt
from accounts.principals import Principal
from collections_app.models import Collection
from core.asgi import Receive, Scope, Send, header
from core.problems import Problem, unauthenticated
from core.redis import UNAVAILABLE
from inference.engine.gateway import gateway
from inference.fleet import live_message, newest_results
from inference.live import HelloMessage
from inference.live_hub import CREDIT, STALLED_SECONDS, Mailbox, live_hub
from inference.robot_api import openpi, openpi_msgpack
from inference.robot_api.asking import ask
from inference.robot_api.caller import authenticate, permitted_collection
from inference.viewer_rights import viewer_rights

logger = structlog.get_logger(__name__)

NOT_AUTHENTICATED = 4401
NOT_ALLOWED = 4403
NO_SUCH_COLLECTION = 4404
TRY_AGAIN_LATER = 1013
MESSAGE_TOO_BIG = 1009
_CLOSE_CODES = {401: NOT_AUTHENTICATED, 403: NOT_ALLOWED, 404: NO_SUCH_COLLECTION}
_RECHECK_SECONDS = 2.0
# Whoever shows a key or a token is asked about more often: a revoked key ends within a second, caches included.
_RECHECK_CREDENTIAL_SECONDS = 0.4
# So much may lie in the server's memory for one viewer; the kernel's socket buffer comes on top.
_HELD_BYTES = 64 * 1024


class Consumer(AsyncWebsocketConsumer):
    """What both sockets leave out of Channels' own: for each socket a Redis subscription, for each message a task and a
    look at old database connections in a thread.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. The hub fans out, and nobody addresses a single socket: it joins no channel layer."""
        self.scope, self.base_send, self.channel_layer = scope, send, None
        with contextlib.suppress(StopConsumer):
            while True:
                message = await receive()
                await getattr(self, get_handler_name(message))(message)


class LiveConsumer(Consumer):
    """Sends a viewer what a collection's robots do, no faster than he takes it."""

    mailbox: Mailbox | None = None
    tasks: tuple[asyncio.Task[None], ...] = ()
    collection_id: uuid.UUID

    async def connect(self) -> None:
        await self.accept(self._bearer_subprotocol())
        try:
            principal = await self._principal()
        except Problem as problem:
            await self.close(_CLOSE_CODES.get(problem.status, TRY_AGAIN_LATER))
            return
        asked = parse_qs(self.scope["query_string"].decode("latin-1"))
        hello = await _hello((asked.get("collection") or [""])[0], principal)
        if isinstance(hello, int):
            await self.close(hello)
            return
        self.collection_id, message = hello
        last_seen = (asked.get("resume") or [""])[0]
        self.mailbox, message["resumed"] = live_hub().join(self.collection_id, last_seen=last_seen)
        await self.send(orjson.dumps(message).decode())
        if last_seen and not message["resumed"]:
            # Nobody knows what he missed; that it was something, and how things stand now, he is told.
            for newest in await _newest(self.collection_id):
                await self.send(newest)
        self.tasks = (
            asyncio.create_task(self._send_all(self.mailbox)),
            asyncio.create_task(self._check_again_and_again()),
        )

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """``{"type": "ack", "n": taken}`` returns credit; anything else is not spoken here."""
        try:
            told = orjson.loads(text_data or b"")
            taken = int(told["n"]) if told["type"] == "ack" else 0
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            await self.close(1007)
            return
        if self.mailbox is not None:
            self.mailbox.acknowledge(taken)

    async def disconnect(self, code: int) -> None:
        for task in self.tasks:
            task.cancel()
        if self.mailbox is not None:
            live_hub().leave(self.mailbox)
            self.mailbox = None

    async def _send_all(self, mailbox: Mailbox) -> None:
        pace = live_hub().pace
        while not mailbox.stalled:
            if not await mailbox.ready(timeout=_RECHECK_SECONDS):
                continue
            if not await self._drained():
                break
            allowed = mailbox.waiting
            await pace.turn(allowed)
            for message in mailbox.take(allowed):
                await self.send(message.decode())
        await self.close(TRY_AGAIN_LATER)

    async def _check_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(_RECHECK_SECONDS if self._proof_is_session else _RECHECK_CREDENTIAL_SECONDS)
            if self._proof_is_session and await viewer_rights().confirm(
                self.scope["session"].session_key or "", self.collection_id
            ):
                continue
            refusal = await self._refusal()
            if refusal is not None:
                await self.close(refusal)
                return

    async def _refusal(self) -> int | None:
        """The close code for a viewer who may watch no longer."""
        try:
            principal = await self._principal()
            return None if await _may_still_watch(principal, self.collection_id) else NOT_ALLOWED
        except Problem as problem:
            return _CLOSE_CODES.get(problem.status, TRY_AGAIN_LATER)
        except (*UNAVAILABLE, DatabaseError):
            return TRY_AGAIN_LATER

    @property
    def _proof_is_session(self) -> bool:
        scheme = header(self.scope, b"authorization").partition(" ")[0].lower()
        return scheme not in ("api-key", "bearer") and self._bearer_subprotocol() is None

    async def _drained(self) -> bool:
        """Whether the server holds little for this viewer; waits for it, and gives up on one that never reads."""
        unsent_bytes = self.scope.get("extensions", {}).get("vla.unsent_bytes")
        if unsent_bytes is None:
            return True
        since = time.monotonic()
        while unsent_bytes() > _HELD_BYTES:
            if time.monotonic() - since > STALLED_SECONDS:
                return False
            await asyncio.sleep(0.02)
        return True

    def _bearer_subprotocol(self) -> str | None:
        for offered in self.scope.get("subprotocols", []):
            if offered.startswith("bearer."):
                return str(offered)
        return None

    async def _principal(self) -> Principal:
        """Who watches, as things are now: from the ``Authorization`` header, the subprotocol ``bearer.<jwt>`` or the
        session. Raises ``Problem`` 401, or 503 where nobody can say.
        """
        scheme, _, token = header(self.scope, b"authorization").partition(" ")
        if scheme.lower() == "api-key":
            return (await authenticate(self.scope, gateway())).service()
        subprotocol = self._bearer_subprotocol()
        if scheme.lower() == "bearer" or subprotocol is not None:
            jwt = token if scheme.lower() == "bearer" else str(subprotocol).removeprefix("bearer.")
            return cast(Principal, await database_sync_to_async(person_of_jwt)(jwt))
        # Read anew each time: a session that was ended or whose password changed names nobody.
        session = SessionStore(self.scope["session"].session_key)
        user = await get_user({"session": session})
        if not user.is_authenticated:
            raise unauthenticated()
        return cast(Principal, user)


@database_sync_to_async
def _hello(slug: str, principal: Principal) -> tuple[uuid.UUID, HelloMessage] | int:
    collection = Collection.objects.select_related("action_space").filter(slug=slug).first()
    if collection is None:
        return NO_SUCH_COLLECTION
    if not Collection.objects.restrict(principal).filter(pk=collection.pk).exists():
        return NOT_ALLOWED
    return collection.pk, {
        "type": "hello",
        "collection": collection.slug,
        "name": collection.name,
        "cameras": collection.cameras,
        "dimensions": [
            {"name": d.name, "unit": d.unit, "kind": d.kind, "low": d.low, "high": d.high}
            for d in collection.action_space.dimensions.all()
        ],
        "horizon": collection.horizon,
        "control_rate_hz": collection.action_space.control_rate_hz,
        "credit": CREDIT,
        "resumed": False,
    }


@database_sync_to_async
def _newest(collection_id: uuid.UUID) -> list[str]:
    """The newest recorded result of each robot, as messages."""
    collection = Collection.objects.get(pk=collection_id)
    return [orjson.dumps(live_message(result)).decode() for result in newest_results(collection)]


@database_sync_to_async
def _may_still_watch(principal: Principal, collection_id: uuid.UUID) -> bool:
    return bool(Collection.objects.restrict(principal).filter(pk=collection_id).exists())


class PolicyConsumer(Consumer):
    """Serves a robot whose client is openpi's: metadata first, then one chunk for each observation.

    Observations are answered one after another while the socket goes on reading, so pings are answered when the
    model is busy. A bad observation is answered by a text frame, and the connection goes on.
    """

    async def connect(self) -> None:
        self.name = f"ws-{uuid.uuid4().hex[:8]}"
        self.previous_ms: float | None = None
        self.observations: asyncio.Queue[bytes] = asyncio.Queue(maxsize=8)
        self.answering: asyncio.Task[None] | None = None
        engine = gateway()
        slug = self.scope["url_route"]["kwargs"]["slug"]
        try:
            self.credential = await authenticate(self.scope, engine)
            snapshot = await permitted_collection(slug, self.credential, engine)
        except Problem as problem:
            await self.accept()
            await self.close(_CLOSE_CODES.get(problem.status, TRY_AGAIN_LATER))
            return
        await self.accept()
        await self.send(bytes_data=openpi_msgpack.pack(openpi.metadata(snapshot)))
        self.answering = asyncio.create_task(self._answer_all(slug))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if bytes_data is None:
            await self.send("Send observations as binary msgpack.")
            return
        if len(bytes_data) > settings.INFERENCE["MAX_BODY_BYTES"]:
            await self.close(MESSAGE_TOO_BIG)
            return
        if self.observations.full():
            await self.close(1008)
            return
        self.observations.put_nowait(bytes_data)

    async def disconnect(self, code: int) -> None:
        if self.answering is not None:
            self.answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.answering
        raise StopConsumer

    async def _answer_all(self, slug: str) -> None:
        while True:
            frame = await self.observations.get()
            accepted_at = time.time()
            started = time.perf_counter()
            try:
                result = await self._answer(slug, frame, accepted_at)
            except Problem as problem:
                await self.send(openpi.describe(problem))
                if problem.status in _CLOSE_CODES:
                    await self.close(_CLOSE_CODES[problem.status])
                    return
                continue
            except Exception:
                logger.exception("policy_socket.failed", connection=self.name)
                await self.send("Something went wrong on our side.")
                continue
            timing: dict[str, float] = {"infer_ms": (time.perf_counter() - started) * 1000}
            if self.previous_ms is not None:
                timing["prev_total_ms"] = self.previous_ms
            result["server_timing"] = timing
            await self.send(bytes_data=openpi_msgpack.pack(result))
            self.previous_ms = (time.perf_counter() - started) * 1000

    async def _answer(self, slug: str, frame: bytes, accepted_at: float) -> dict[str, Any]:
        engine = gateway()
        # The key may have been revoked and the collection changed since the last frame; both looks are local.
        self.credential = await authenticate(self.scope, engine)
        snapshot = await permitted_collection(slug, self.credential, engine)
        fields = openpi.to_request(openpi_msgpack.unpack_map(frame), snapshot)
        answer = await ask(fields, snapshot, self.credential, engine, accepted_at=accepted_at, connection=self.name)
        told = orjson.loads(answer.body)
        if not told["actions"]:
            raise Problem(422, "chunk_rejected", "The safety check rejected the policy's actions.")
        return {
            "actions": np.asarray(told["actions"], np.float32),
            "policy_timing": {"infer_ms": told["timing"]["inference_ms"]},
            "request_id": told["request_id"],
            "model": told["model"],
            "safety": told["safety"],
        }
