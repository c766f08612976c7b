"""Answers that Redis still remembers: those in flight, and those not yet or only just recorded."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable

from core.redis import engine_redis
from inference.engine import keys, scripts


def is_known(request_id: uuid.UUID) -> bool:
    """Whether the request is in flight, answered or was recorded a short while ago."""
    return bool(engine_redis().exists(keys.answer(request_id)))


def unrecorded(request_id: uuid.UUID) -> bytes | None:
    """The answer's JSON where the recorder has not yet written it."""
    return engine_redis().hget(keys.answer(request_id), "a")


def forget(collection_id: uuid.UUID, request_ids: Collection[uuid.UUID], cameras: Iterable[str]) -> None:
    """Drop the answers and the pictures shown live of a collection's requests whose records are deleted."""
    if not request_ids:
        return
    client = engine_redis()
    client.register_script(scripts.FORGET)(keys=[keys.answer(request_id) for request_id in request_ids])
    frames = [keys.frame(collection_id, request_id, camera) for request_id in request_ids for camera in cameras]
    if frames:
        client.delete(*frames)


def forget_cached(version_ids: Iterable[uuid.UUID]) -> None:
    """Drop every cached answer of these policy versions: a cache's keys do not say which record filled them."""
    client = engine_redis()
    for version_id in version_ids:
        for cached in client.scan_iter(keys.result_cache(version_id, "*"), count=1000):
            client.delete(cached)
