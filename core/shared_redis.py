"""Redis for one event loop, without a detour: a command is written when it is given, a reply handed out when it comes.

A client with a pool takes and checks a connection for every command, and its streams and subscriptions wake several
tasks for every reply. That costs a web process more than anything else on a robot's way. Here redis-py only opens the
connection (TLS, password, database); from then on its bytes are read and written by the event loop itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import redis.asyncio
from django.conf import settings
from redis.asyncio.connection import DefaultParser
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError

from core.redis import UNAVAILABLE

_INCOMPLETE = object()


class SharedConnectionRedis(redis.asyncio.Redis):
    """``redis.asyncio.Redis`` for commands that do not block, on one connection and one event loop.

    Where a connection turns out to be lost, what was not answered is sent once more on a new one, so a command may run
    twice: give it only those that may. ``timeout`` in seconds bounds the wait for a reply, connecting included.
    """

    timeout = 5.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connection: Any = _new_connection(self)
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unanswered: deque[_Command] = deque()
        self._watch: asyncio.TimerHandle | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to one command. Raises what ``redis.asyncio.Redis`` raises."""
        loop = asyncio.get_running_loop()
        command = _Command(args, due=loop.time() + self.timeout)
        self._unanswered.append(command)
        if self._transport is not None:
            command.write_to(self._transport)
        elif self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="redis-connect")
        if self._watch is None:
            self._watch = loop.call_at(command.due, self._give_up_late)
        answer = await command.reply
        options.pop("keys", None)
        callback = self.response_callbacks.get(args[0])
        return callback(answer, **options) if callback else answer

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Fail what waits and drop the connection."""
        self._drop(ConnectionError("The client was closed."))
        await self._connection.disconnect(nowait=True)
        await super().aclose(close_connection_pool)

    async def _connect(self) -> None:
        try:
            await self._connection.disconnect(nowait=True)
            transport = await _open(self._connection, self._take, lambda: self._lost(transport))
        except UNAVAILABLE as error:
            self._drop(error)
        else:
            self._transport = transport
            for command in self._unanswered:
                command.write_to(transport)
        finally:
            self._connecting = None

    def _take(self, reply: Any) -> None:
        self._unanswered.popleft().settle(reply)

    def _lost(self, transport: asyncio.Transport) -> None:
        if transport is not self._transport:  # it was dropped, and whoever waited was told
            return
        self._transport = None
        again = [command for command in self._unanswered if command.sent < 2]
        for command in self._unanswered:
            if command.sent >= 2:
                command.settle(ConnectionError("Redis closed the connection."))
        self._unanswered = deque(again)
        if again and self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="redis-connect")

    def _give_up_late(self) -> None:
        """Drop a connection whose oldest command should have been answered by now."""
        self._watch = None
        if not self._unanswered:
            return
        loop = asyncio.get_running_loop()
        due = self._unanswered[0].due
        if due <= loop.time():
            self._drop(TimeoutError("Redis did not answer in time."))
        else:
            self._watch = loop.call_at(due, self._give_up_late)

    def _drop(self, error: Exception) -> None:
        """Fail whoever waits. Replies may still be on their way: the connection cannot be used again."""
        if self._connecting is not None and self._connecting is not asyncio.current_task():
            self._connecting.cancel()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        while self._unanswered:
            self._unanswered.popleft().settle(error)


def new_shared_engine_redis() -> Any:
    """The engine's client for the running event loop; the caller keeps one per loop and closes it."""
    return SharedConnectionRedis.from_url(
        settings.REDIS_ENGINE_URL, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
    )


@asynccontextmanager
async def subscribed(
    client: redis.asyncio.Redis, channel: str, take: Callable[[bytes], None]
) -> AsyncIterator[asyncio.Event]:
    """Hand to ``take`` what is published on ``channel``, over a connection made as ``client``'s are.

    Gives an event that is set when the connection is lost. Raises what ``redis.asyncio.Redis`` raises.
    """
    connection = _new_connection(client)
    confirmed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    def received(reply: Any) -> None:
        if confirmed.done():
            take(reply[2])
        else:
            _settle(confirmed, reply)

    def lost() -> None:
        _settle(confirmed, ConnectionError("Redis closed the connection."))
        ended.set()

    try:
        async with asyncio.timeout(SharedConnectionRedis.timeout):
            transport = await _open(connection, received, lost)
            transport.write(_packed("SUBSCRIBE", channel))
            await confirmed
        yield ended
    finally:
        await connection.disconnect(nowait=True)


class _Command:
    """A command on its way: ``due`` on the loop's clock, and how often it was ``sent``."""

    def __init__(self, words: tuple[Any, ...], *, due: float) -> None:
        self._packed = _packed(*words)
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.due = due
        self.sent = 0

    def write_to(self, transport: asyncio.Transport) -> None:
        self.sent += 1
        transport.write(self._packed)

    def settle(self, reply: Any) -> None:
        _settle(self.reply, reply)


class _Replies(asyncio.Protocol):
    """The receiving end of a connection."""

    def __init__(self, take: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._reader = hiredis.Reader(
            protocolError=ConnectionError, replyError=DefaultParser.parse_error, notEnoughData=_INCOMPLETE
        )
        self._take, self._lost = take, lost

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not _INCOMPLETE:
            self._take(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost()


def _new_connection(client: redis.asyncio.Redis) -> Any:
    pool: Any = client.connection_pool
    return pool.make_connection()


async def _open(connection: Any, take: Callable[[Any], None], lost: Callable[[], None]) -> asyncio.Transport:
    """Connect and give ``take`` every reply, errors included, until ``lost``."""
    await connection.connect()
    transport: asyncio.Transport = connection._writer.transport
    transport.set_protocol(_Replies(take, lost))
    return transport


def _packed(name: str, *arguments: Any) -> bytes:
    """A command's bytes. redis-py writes some names as two words, such as "SCRIPT LOAD"."""
    words: Any = (*name.split(), *arguments)
    return bytes(hiredis.pack_command(words))


def _settle(waiting: asyncio.Future[Any], reply: Any) -> None:
    if waiting.done():  # its caller left
        return
    if isinstance(reply, BaseException):
        waiting.set_exception(reply)
    else:
        waiting.set_result(reply)
