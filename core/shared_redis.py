"""A Redis client for one event loop whose callers share one connection, and whose commands travel together.

A client with a pool takes and checks a connection for every command, which costs a busy web process more than anything
else on a robot's way. Here all commands that were given while the last ones were on their way go out in one write, and
their replies come back in one read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, ResponseError

from core.redis import UNAVAILABLE


class SharedConnectionRedis(redis.asyncio.Redis):
    """``redis.asyncio.Redis`` for commands that do not block. Belongs to the loop that first uses it.

    Where an established connection turns out to be lost, what was not answered is sent once more on a new one, so a
    command may run twice: give it only those that may. ``timeout`` in seconds bounds one exchange, connecting included.
    """

    timeout = 5.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pool: Any = self.connection_pool
        self._shared = pool.make_connection()
        self._queued: deque[tuple[list[bytes], asyncio.Future[Any]]] = deque()
        self._exchange: asyncio.Task[None] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply to one command. Raises what ``redis.asyncio.Redis`` raises."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queued.append((self._shared.pack_command(*args), reply))
        if self._exchange is None or self._exchange.done():
            self._exchange = asyncio.create_task(self._exchange_all(), name="redis-exchange")
        answer = await reply
        options.pop("keys", None)
        callback = self.response_callbacks.get(args[0])
        return callback(answer, **options) if callback else answer

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Fail what waits and drop the connection."""
        if self._exchange is not None:
            self._exchange.cancel()
            await asyncio.wait([self._exchange])
        _fail(self._queued, ConnectionError("The client was closed."))
        await self._shared.disconnect(nowait=True)
        await super().aclose(close_connection_pool)

    async def _exchange_all(self) -> None:
        sent: deque[tuple[list[bytes], asyncio.Future[Any]]] = deque()
        try:
            while self._queued:
                sent, self._queued = self._queued, deque()
                try:
                    await self._exchange_once(sent)
                except UNAVAILABLE as error:
                    _fail(sent, error)
        except asyncio.CancelledError:
            _fail(sent, ConnectionError("The client was closed."))
            raise

    async def _exchange_once(self, unanswered: deque[tuple[list[bytes], asyncio.Future[Any]]]) -> None:
        """Send ``unanswered`` and take each away with its reply."""
        established = self._shared.is_connected
        try:
            async with asyncio.timeout(self.timeout):
                await self._shared.connect()
                await self._shared.send_packed_command(
                    [part for packed, _ in unanswered for part in packed], check_health=False
                )
                while unanswered:
                    try:
                        answer = await self._shared.read_response()
                    except ResponseError as error:
                        _settle(unanswered.popleft()[1], error)
                    else:
                        _settle(unanswered.popleft()[1], answer)
        except ConnectionError:
            await self._shared.disconnect(nowait=True)
            if not established:
                raise
            await self._exchange_once(unanswered)
        except BaseException:
            # Whatever else it is, replies may still be on their way: the connection cannot be used again.
            await self._shared.disconnect(nowait=True)
            raise


def new_shared_engine_redis() -> Any:
    """The engine's client for the running event loop; the caller keeps one per loop and closes it."""
    return SharedConnectionRedis.from_url(
        settings.REDIS_ENGINE_URL, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
    )


def _fail(waiting: deque[tuple[list[bytes], asyncio.Future[Any]]], error: BaseException) -> None:
    while waiting:
        _settle(waiting.popleft()[1], error)


def _settle(reply: asyncio.Future[Any], answer: Any) -> None:
    if reply.done():  # its caller left
        return
    if isinstance(answer, BaseException):
        reply.set_exception(answer)
    else:
        reply.set_result(answer)
