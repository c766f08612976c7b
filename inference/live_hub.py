"""One process's fan-out of live events: one subscription a collection, however many viewers.

Each watched collection has a board with the newest message about each robot; a viewer is a place on it. A message costs
the same for one viewer and for a thousand: it is written on the board once, and a viewer who may be sent to reads what
is new to him. What was overwritten before he came to it is lost to him, and he is told how many that were.

All viewers together are sent a bounded number of messages a second (``Pace``), because robots are answered by the same
process: a thousand viewers see fewer steps each, and the robots do not wait for them.
"""

from __future__ import annotations

import asyncio
import time
import uuid
import weakref
from collections import OrderedDict
from itertools import takewhile

import orjson
import structlog

from core.redis import UNAVAILABLE, new_async_engine_redis
from inference.engine import keys

logger = structlog.get_logger(__name__)

CREDIT = 32
STALLED_SECONDS = 30.0
# So long a board is kept up when nobody watches, for the viewer whose connection broke.
LINGER_SECONDS = 60.0
# To all viewers of a process together. Each costs it some 60 µs, the acknowledgement included (docs/performance.md).
MESSAGES_PER_SECOND = 1000
_SUBJECTS_KEPT = 64
_REQUESTS_KEPT = 2048


class Board:
    """The newest message about each robot of one collection. Messages are numbered from 1 in the order they came."""

    def __init__(self) -> None:
        self.last = 0
        self.left_at = time.monotonic()
        self.viewers = 0
        self._messages: OrderedDict[object, tuple[int, bytes]] = OrderedDict()
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._news = asyncio.Event()

    def put(self, subject: object, message: bytes, request_id: str = "") -> None:
        """Write ``message`` over the older one about the same ``subject``."""
        self.last += 1
        self._messages.pop(subject, None)
        self._messages[subject] = (self.last, message)
        if len(self._messages) > _SUBJECTS_KEPT:
            self._messages.popitem(last=False)
        self._numbers[request_id] = self.last
        if len(self._numbers) > _REQUESTS_KEPT:
            self._numbers.popitem(last=False)
        self._news.set()
        self._news = asyncio.Event()

    def number_of(self, request_id: str) -> int | None:
        """Which message told of ``request_id``; None where that is no longer known."""
        return self._numbers.get(request_id)

    def after(self, number: int) -> list[tuple[int, bytes]]:
        """What is on the board and came after message ``number``, oldest first."""
        newest_first = takewhile(lambda one: one[0] > number, reversed(self._messages.values()))
        return list(newest_first)[::-1]

    async def news(self) -> None:
        """Returns when another message has come."""
        await self._news.wait()


class Mailbox:
    """One viewer's place on a board, and how much he may be sent."""

    def __init__(self, board: Board, *, after: int | None = None) -> None:
        self.board = board
        self.credit: int | None = None  # without bound until the viewer first acknowledges
        self._read = board.last if after is None else after
        self._paid = asyncio.Event()
        self._spent_at = 0.0

    def acknowledge(self, count: int) -> None:
        """The viewer has taken ``count`` more messages."""
        self.credit = CREDIT if self.credit is None else min(CREDIT, self.credit + max(0, count))
        self._paid.set()

    @property
    def has_credit(self) -> bool:
        return self.credit is None or self.credit > 0

    @property
    def waiting(self) -> int:
        """How many messages ``take`` would give now."""
        return min(len(self.board.after(self._read)), CREDIT if self.credit is None else self.credit)

    @property
    def stalled(self) -> bool:
        """Whether the viewer owes an acknowledgement for too long."""
        return not self.has_credit and time.monotonic() - self._spent_at > STALLED_SECONDS

    async def ready(self, timeout: float) -> bool:
        """Whether there is something that may be sent, within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not self.has_credit:
                    self._paid.clear()
                    await self._paid.wait()
                while self.board.last <= self._read:
                    await self.board.news()
        except TimeoutError:
            return False
        return True

    def take(self, limit: int = CREDIT) -> list[bytes]:
        """What is new, as much as ``limit`` and the credit allow, after a word about what was lost before it.

        Counts as sent.
        """
        told = self.board.after(self._read)
        told = told[: limit if self.credit is None else min(limit, self.credit)]
        if self.credit is not None:
            self.credit -= len(told)
        if not told:
            return []
        dropped = told[-1][0] - self._read - len(told)
        self._read = told[-1][0]
        self._spent_at = time.monotonic()
        messages = [message for _, message in told]
        return [orjson.dumps({"type": "lagging", "dropped": dropped}), *messages] if dropped else messages


class Pace:
    """Spaces out what is sent to viewers: all of them together get ``MESSAGES_PER_SECOND`` and no more."""

    def __init__(self) -> None:
        self._free_at = 0.0

    async def turn(self, messages: int = 1) -> None:
        """Wait until ``messages`` more may be sent. Turns are given in the order in which they are asked for."""
        now = time.monotonic()
        begins = max(now, self._free_at)
        self._free_at = begins + messages / MESSAGES_PER_SECOND
        if begins > now:
            await asyncio.sleep(begins - now)


class LiveHub:
    """The boards of this process by collection, and the one connection that feeds them."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._boards: dict[uuid.UUID, Board] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, collection_id: uuid.UUID, *, last_seen: str = "") -> tuple[Mailbox, bool]:
        """A new viewer's mailbox, and whether it goes on right after the request id ``last_seen``.

        Where it does not, it begins with what comes from now on.
        """
        board = self._boards.get(collection_id)
        if board is None:
            board = self._boards[collection_id] = Board()
            self._changed.set()
        board.viewers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="live-hub")
        number = board.number_of(last_seen) if last_seen else None
        return Mailbox(board, after=number), number is not None

    def leave(self, mailbox: Mailbox) -> None:
        mailbox.board.viewers -= 1
        mailbox.board.left_at = time.monotonic()

    def _forget_unwatched(self) -> None:
        over = time.monotonic() - LINGER_SECONDS
        for collection_id, board in list(self._boards.items()):
            if not board.viewers and board.left_at < over:
                del self._boards[collection_id]
                self._changed.set()

    async def _run(self) -> None:
        while self._boards:
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
        while self._boards:
            wanted = {keys.live(collection_id.hex): collection_id for collection_id in list(self._boards)}
            if new := wanted.keys() - subscribed:
                await channels.subscribe(*new)  # type: ignore[attr-defined]
            if old := subscribed - wanted.keys():
                await channels.unsubscribe(*old)  # type: ignore[attr-defined]
            subscribed = set(wanted)
            self._changed.clear()
            while not self._changed.is_set():
                message = await channels.get_message(timeout=0.25)  # type: ignore[attr-defined]
                if message is not None:
                    self._write(wanted.get(message["channel"].decode()), message["data"])
                else:
                    self._forget_unwatched()

    def _write(self, collection_id: uuid.UUID | None, data: bytes) -> None:
        board = self._boards.get(collection_id) if collection_id is not None else None
        if board is None:
            return
        told = orjson.loads(data)
        # Each piece of feedback is news of its own; of a robot only the newest step is.
        subject = (told["type"], told.get("robot") or told["request_id"])
        board.put(subject, data, told["request_id"] if told["type"] == "result" else "")


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LiveHub] = weakref.WeakKeyDictionary()


def live_hub() -> LiveHub:
    """The running event loop's hub."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(loop)
    if found is None:
        found = _hubs[loop] = LiveHub()
    return found
