"""Answers that Redis still remembers: those in flight, and those not yet or only just recorded."""

from __future__ import annotations

import uuid

from core.redis import engine_redis
from inference.engine import keys


def is_known(request_id: uuid.UUID) -> bool:
    """Whether the request is in flight, answered or was recorded a short while ago."""
    return bool(engine_redis().exists(keys.answer(request_id)))


def unrecorded(request_id: uuid.UUID) -> bytes | None:
    """The answer's JSON where the recorder has not yet written it."""
    return engine_redis().hget(keys.answer(request_id), "a")
