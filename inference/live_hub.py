"""One process's fan-out of live events: one subscription a collection, however many viewers.

Each viewer has a bounded mailbox: while he may not be sent to, the newest result of each robot replaces the older one,
and what was left out is counted. He may be sent to while the server holds little for him (``vla_project.server`` tells)
and, once he has begun to acknowledge, while he has credit; a viewer that takes nothing for long is closed.
"""

from __future__ import annotations

import asyncio
import time
import uuid
import weakref
from collections import OrderedDict

import orjson
import structlog

from core.redis import UNAVAILABLE, new_async_engine_redis
from inference.engine import keys

logger = structlog.get_logger(__name__)

CREDIT = 32
STALLED_SECONDS = 30.0
_MAX_ROBOTS_WAITING = 64


class Mailbox:
    """What one viewer has yet to be sent. ``get`` is awaited by one consumer; ``put`` and ``credit`` never wait."""

    def __init__(self) -> None:
        self.credit: int | None = None  # without bound until the viewer first acknowledges
        self.dropped = 0
        self._waiting: OrderedDict[object, bytes] = OrderedDict()
        self._changed = asyncio.Event()
        self._spent_at = 0.0

    def put(self, subject: object, message: bytes) -> None:
        """Leave ``message``; an older one about the same ``subject`` that was not sent yet is dropped for it."""
        if self._waiting.pop(subject, None) is not None:
            self.dropped += 1
        elif len(self._waiting) >= _MAX_ROBOTS_WAITING:
            self._waiting.popitem(last=False)
            self.dropped += 1
        self._waiting[subject] = message
        self._changed.set()

    def acknowledge(self, count: int) -> None:
        """The viewer has taken ``count`` more messages."""
        self.credit = CREDIT if self.credit is None else min(CREDIT, self.credit + max(0, count))
        self._changed.set()

    @property
    def has_credit(self) -> bool:
        return self.credit is None or self.credit > 0

    @property
    def stalled(self) -> bool:
        """Whether the viewer owes an acknowledgement for too long."""
        return not self.has_credit and time.monotonic() - self._spent_at > STALLED_SECONDS

    async def get(self, timeout: float) -> list[bytes]:
        """The next messages that the credit allows, at most; empty after ``timeout`` seconds."""
        if not (self._waiting and self.has_credit):
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                return []
            if not (self._waiting and self.has_credit):
                return []
        messages = []
        if self.dropped:
            messages.append(orjson.dumps({"type": "lagging", "dropped": self.dropped}))
            self.dropped = 0
        while self._waiting and self.has_credit:
            messages.append(self._waiting.popitem(last=False)[1])
            if self.credit is not None:
                self.credit -= 1
        self._spent_at = time.monotonic()
        return messages


class LiveHub:
    """The viewers of this process by collection, and the one connection that feeds them."""

    def __init__(self) -> None:
        self._viewers: dict[uuid.UUID, set[Mailbox]] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, collection_id: uuid.UUID) -> Mailbox:
        """A new viewer's mailbox."""
        mailbox = Mailbox()
        self._viewers.setdefault(collection_id, set()).add(mailbox)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="live-hub")
        return mailbox

    def leave(self, collection_id: uuid.UUID, mailbox: Mailbox) -> None:
        viewers = self._viewers.get(collection_id, set())
        viewers.discard(mailbox)
        if not viewers:
            self._viewers.pop(collection_id, None)
        self._changed.set()

    async def _run(self) -> None:
        while self._viewers:
            client = new_async_engine_redis(socket_timeout=None)
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as channels:
                    await self._follow(channels)
            except UNAVAILABLE as error:
                logger.warning("live.disconnected", error=type(error).__name__)
                await asyncio.sleep(0.2)
            finally:
                await client.aclose()

    async def _follow(self, channels: object) -> None:
        subscribed: set[str] = set()
        while self._viewers:
            wanted = {keys.live(collection_id.hex): collection_id for collection_id in list(self._viewers)}
            if new := wanted.keys() - subscribed:
                await channels.subscribe(*new)  # type: ignore[attr-defined]
            if old := subscribed - wanted.keys():
                await channels.unsubscribe(*old)  # type: ignore[attr-defined]
            subscribed = set(wanted)
            self._changed.clear()
            while not self._changed.is_set():
                message = await channels.get_message(timeout=0.25)  # type: ignore[attr-defined]
                if message is not None:
                    self._deliver(wanted.get(message["channel"].decode()), message["data"])

    def _deliver(self, collection_id: uuid.UUID | None, data: bytes) -> None:
        if collection_id is None or collection_id not in self._viewers:
            return
        told = orjson.loads(data)
        subject = (told["type"], told.get("robot") or told["request_id"])
        for mailbox in self._viewers[collection_id]:
            mailbox.put(subject, data)


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LiveHub] = weakref.WeakKeyDictionary()


def live_hub() -> LiveHub:
    """The running event loop's hub."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(loop)
    if found is None:
        found = _hubs[loop] = LiveHub()
    return found
