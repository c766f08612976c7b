"""What the robots' routes must know of a collection, without the database: a snapshot in Redis and in each process.

The shared snapshot is deleted when the collection, its action space or its deployments change (``forget``); a process
keeps its own for half a second.
"""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings

from collections_app.models import Collection
from core.redis import UNAVAILABLE, engine_redis, key

_SHARED_SECONDS = 300
_UNKNOWN = b"unknown"
# Stands in a snapshot's place after a change, so that a reader who asked the database before it writes nothing old.
_CHANGED = b"changed"
_CHANGED_SECONDS = 10


@dataclass(frozen=True, slots=True)
class DimensionSnapshot:
    """One action dimension: limits in its unit, None is no limit. See ``ActionDimension``."""

    name: str
    unit: str
    kind: str
    low: float | None
    high: float | None
    max_step_change: float | None
    max_velocity: float | None
    workspace_state: str = ""
    workspace_low: float | None = None
    workspace_high: float | None = None


@dataclass(frozen=True, slots=True)
class DeploymentSnapshot:
    """A policy version at work on the collection."""

    version_id: uuid.UUID
    name: str
    version: str
    role: str
    weight: int
    backend: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CollectionSnapshot:
    id: uuid.UUID
    slug: str
    cameras: tuple[str, ...]
    horizon: int
    state_names: tuple[str, ...]
    control_rate_hz: float
    dimensions: tuple[DimensionSnapshot, ...]
    safety_mode: str
    cache_enabled: bool
    default_deadline_ms: int
    observation_mapping: dict[str, Any]
    archived: bool
    deployments: tuple[DeploymentSnapshot, ...]

    @property
    def state_size(self) -> int:
        return len(self.state_names)


def get(slug: str) -> CollectionSnapshot | None:
    """The snapshot of the collection named ``slug``, or None; for threads."""
    fresh, snapshot = _fresh(slug)
    return snapshot if fresh else _remember(slug, _read_through(slug))


async def get_async(slug: str, *, redis_client: Any) -> CollectionSnapshot | None:
    """``get`` for the event loop: asks the database, in a thread, only when Redis does not know."""
    fresh, snapshot = _fresh(slug)
    if fresh:
        return snapshot
    stored = await redis_client.get(_shared_key(slug))
    if stored is None or stored == _CHANGED:
        return _remember(slug, await database_sync_to_async(_read_through)(slug))
    return _remember(slug, _decode(stored))


def forget(slug: str) -> None:
    """Drop the shared snapshot; call it when what it holds has changed and committed."""
    _local.pop(slug, None)
    engine_redis().set(_shared_key(slug), _CHANGED, ex=_CHANGED_SECONDS)


_local: dict[str, tuple[float, CollectionSnapshot | None]] = {}


def _fresh(slug: str) -> tuple[bool, CollectionSnapshot | None]:
    entry = _local.get(slug)
    if entry is None or entry[0] < time.monotonic():
        return False, None
    return True, entry[1]


def _remember(slug: str, snapshot: CollectionSnapshot | None) -> CollectionSnapshot | None:
    if len(_local) > 10_000:
        _local.clear()
    _local[slug] = (time.monotonic() + settings.INFERENCE["SETTINGS_CACHE_SECONDS"], snapshot)
    return snapshot


def _read_through(slug: str) -> CollectionSnapshot | None:
    client = engine_redis()
    try:
        stored = client.get(_shared_key(slug))
    except UNAVAILABLE:
        return _from_database(slug)
    if stored is not None and stored != _CHANGED:
        return _decode(stored)
    snapshot = _from_database(slug)
    with suppress(*UNAVAILABLE):
        client.set(_shared_key(slug), _encode(snapshot), ex=_SHARED_SECONDS if snapshot else 5, nx=True)
    return snapshot


def _from_database(slug: str) -> CollectionSnapshot | None:
    collection = Collection.objects.select_related("action_space").filter(slug=slug).first()
    if collection is None:
        return None
    # The deployments' model lives in a higher app; the reverse name needs no import of it.
    deployments = collection.deployments.exclude(policy_version__state="retired").select_related("policy_version")
    return CollectionSnapshot(
        id=collection.pk,
        slug=collection.slug,
        cameras=tuple(collection.cameras),
        horizon=collection.horizon,
        state_names=tuple(collection.action_space.state_names),
        control_rate_hz=collection.action_space.control_rate_hz,
        dimensions=tuple(
            DimensionSnapshot(
                d.name,
                d.unit,
                d.kind,
                d.low,
                d.high,
                d.max_step_change,
                d.max_velocity,
                d.workspace_state,
                d.workspace_low,
                d.workspace_high,
            )
            for d in collection.action_space.dimensions.order_by("position")
        ),
        safety_mode=collection.safety_mode,
        cache_enabled=collection.cache_enabled,
        default_deadline_ms=collection.default_deadline_ms,
        observation_mapping=collection.observation_mapping,
        archived=collection.archived_at is not None,
        deployments=tuple(
            DeploymentSnapshot(
                d.policy_version_id,
                d.policy_version.name,
                d.policy_version.version,
                d.role,
                d.weight,
                d.policy_version.backend,
                d.policy_version.options,
            )
            for d in deployments
        ),
    )


def _encode(snapshot: CollectionSnapshot | None) -> bytes:
    return _UNKNOWN if snapshot is None else orjson.dumps(snapshot)


def _decode(stored: bytes) -> CollectionSnapshot | None:
    if stored == _UNKNOWN:
        return None
    values = orjson.loads(stored)
    return CollectionSnapshot(
        **{
            **values,
            "id": uuid.UUID(values["id"]),
            "cameras": tuple(values["cameras"]),
            "state_names": tuple(values["state_names"]),
            "dimensions": tuple(DimensionSnapshot(**d) for d in values["dimensions"]),
            "deployments": tuple(
                DeploymentSnapshot(**{**d, "version_id": uuid.UUID(d["version_id"])}) for d in values["deployments"]
            ),
        }
    )


def _shared_key(slug: str) -> str:
    return key("collection", slug)
