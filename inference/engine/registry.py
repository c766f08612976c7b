"""The worker's view of the policy registry: what to load, and what became of it."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from django.utils import timezone

from core.redis import engine_redis
from inference.choices import VersionState
from inference.engine import keys
from inference.models import Deployment, PolicyVersion
from inference.policies.base import Policy, PolicyInfo
from inference.policies.handler import backends, create_policy

HEARTBEAT_SECONDS = 3


@dataclass(frozen=True, slots=True)
class DeployedVersion:
    """A policy version that some collection uses. ``description`` is that collection's shape of observations."""

    id: uuid.UUID
    name: str
    version: str
    backend: str
    options: dict[str, Any]
    description: dict[str, Any]
    max_batch: int | None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def fingerprint(self) -> str:
        """Changes when what would be loaded changes: a version that failed is tried again then."""
        return hashlib.sha256(
            orjson.dumps([self.backend, self.options, self.description], option=orjson.OPT_SORT_KEYS)
        ).hexdigest()


def deployed_versions() -> list[DeployedVersion]:
    """Every version that is deployed, active or shadow, and not retired."""
    found: dict[uuid.UUID, DeployedVersion] = {}
    deployments = (
        Deployment.objects.exclude(policy_version__state=VersionState.RETIRED)
        .filter(collection__archived_at=None)
        .select_related("policy_version", "collection__action_space")
        .prefetch_related("collection__action_space__dimensions")
        .order_by("created_at")
    )
    for deployment in deployments:
        version, collection = deployment.policy_version, deployment.collection
        if version.pk in found:
            continue
        options = dict(version.options)
        max_batch = options.pop("max_batch", None)
        if version.checkpoint_sha256:
            options.setdefault("sha256", version.checkpoint_sha256)
        found[version.pk] = DeployedVersion(
            id=version.pk,
            name=version.name,
            version=version.version,
            backend=version.backend,
            options=options,
            description={
                "action_names": [dimension.name for dimension in collection.action_space.dimensions.all()],
                "state_size": len(collection.action_space.state_names),
                "cameras": list(collection.cameras),
                "horizon": collection.horizon,
            },
            max_batch=int(max_batch) if max_batch else None,
        )
    return list(found.values())


def build_policy(version: DeployedVersion) -> Policy:
    """The configured, unloaded policy. A backend without a shape of its own takes the collection's."""
    if backends[version.backend].follows_collection:
        return create_policy(version.backend, {**version.description, **version.options})
    return create_policy(version.backend, version.options)


def report_ready(version_id: uuid.UUID, info: PolicyInfo) -> None:
    PolicyVersion.objects.filter(pk=version_id).exclude(state=VersionState.RETIRED).update(
        state=VersionState.READY,
        state_detail=f"Loaded {timezone.now():%Y-%m-%d %H:%M:%S} UTC",
        info=orjson.loads(orjson.dumps(dataclasses.asdict(info), default=str)),
    )


def report_failed(version_id: uuid.UUID, detail: str) -> None:
    PolicyVersion.objects.filter(pk=version_id).exclude(state=VersionState.RETIRED).update(
        state=VersionState.FAILED, state_detail=detail[:2000]
    )


def beat(worker: str, versions: Iterable[uuid.UUID]) -> None:
    """A worker lives and has loaded ``versions``; forgotten after ``HEARTBEAT_SECONDS``."""
    pipeline = engine_redis().pipeline(transaction=False)
    pipeline.set(keys.worker(worker), orjson.dumps([version.hex for version in versions]), ex=HEARTBEAT_SECONDS)
    pipeline.sadd(keys.workers(), worker)
    pipeline.execute()


def is_alive(worker: str) -> bool:
    return bool(engine_redis().exists(keys.worker(worker)))


def bury(worker: str) -> None:
    """A worker has ended."""
    engine_redis().delete(keys.worker(worker))
    engine_redis().srem(keys.workers(), worker)


def loaded_versions() -> dict[str, int]:
    """Version id (hexadecimal) to the number of live workers that have loaded it."""
    client = engine_redis()
    names = sorted(client.smembers(keys.workers()))
    counts: dict[str, int] = {}
    for name, beat_of_worker in zip(
        names, client.mget([keys.worker(n.decode()) for n in names]) if names else [], strict=True
    ):
        if beat_of_worker is None:
            client.srem(keys.workers(), name)
            continue
        for version in orjson.loads(beat_of_worker):
            counts[version] = counts.get(version, 0) + 1
    return counts


def announce_change() -> None:
    """Tell every worker to look at the registry now; call it after commit."""
    engine_redis().publish(keys.control(), b"registry")


def worker_health() -> str:
    """Readiness: some worker has loaded a policy version; else what is missing."""
    return "" if loaded_versions() else "no inference worker has loaded a policy"
