"""Redis for one thread, without a detour: redis-py opens the connection, and its bytes are written and read here.

A client with a pool checks a connection out and in, guards it with retries and converts the reply. In a thread that a
robot waits for, that takes as long as Redis itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import hiredis
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry


class DedicatedRedis:
    """The engine's Redis over a connection of its own. For one thread at a time.

    Replies are RESP3's as they come, with text as bytes. Nothing is tried again: after an exception of
    ``core.redis.UNAVAILABLE`` the next command connects anew.
    """

    def __init__(self) -> None:
        client = redis.Redis.from_url(
            settings.REDIS_ENGINE_URL,
            protocol=3,
            socket_connect_timeout=2,
            socket_timeout=10,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection: Any = client.connection_pool.make_connection()

    def execute(self, *words: Any) -> Any:
        """The reply to one command. Raises redis-py's exceptions."""
        self._connection.send_packed_command([hiredis.pack_command(words)], check_health=False)
        return self._connection.read_response()

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """The reply of a Lua script, which Redis is taught where it does not know it."""
        try:
            return self.execute("EVALSHA", _digest(script), len(keys), *keys, *arguments)
        except NoScriptError:
            return self.execute("EVAL", script, len(keys), *keys, *arguments)

    def close(self) -> None:
        """Drop the connection. Safe to call twice."""
        self._connection.disconnect()


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
