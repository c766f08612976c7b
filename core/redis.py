"""Connections to Redis, one pool per process and purpose."""

from __future__ import annotations

from functools import cache
from typing import Any

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError
from redis.retry import Retry

# Redis answers "loading" while it reads its append-only file after a restart: as good as away.
UNAVAILABLE = (ConnectionError, TimeoutError, BusyLoadingError, OSError)


@cache
def engine_redis() -> Any:
    """The queue's, replies' and recorder's ``redis.Redis``, for threads. Replies are bytes.

    Typed as Any, like the asynchronous one: redis-py annotates every reply as the union of all protocols' and modes'.
    """
    return redis.Redis.from_url(
        settings.REDIS_ENGINE_URL,
        socket_connect_timeout=2,
        socket_timeout=30,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 3),
    )


def new_async_engine_redis(**options: Any) -> Any:
    """A client for the running event loop; the caller keeps one per loop and closes it."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_ENGINE_URL, socket_connect_timeout=2, health_check_interval=0, **options
    )


def key(*parts: object) -> str:
    """A key or channel name below this deployment's prefix."""
    return settings.REDIS_PREFIX + ":".join(str(part) for part in parts)
