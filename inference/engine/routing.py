"""Which policy version answers: the one that is named, or one of the active versions by weight, sticky per episode."""

from __future__ import annotations

import hashlib
import uuid

from collections_app.snapshots import CollectionSnapshot, DeploymentSnapshot
from core.problems import Problem, invalid


def choose_version(snapshot: CollectionSnapshot, *, model: str | None, sticky: str) -> DeploymentSnapshot:
    """The deployment that serves a request.

    ``model`` is ``name`` or ``name@version``; ``sticky`` (the episode, or the robot) always meets the same version
    while the weights stay. Raises ``Problem``: 400 where ``model`` is not deployed here, 503 where nothing is active.
    """
    if model is not None:
        name, _, version = model.partition("@")
        named = [d for d in snapshot.deployments if d.name == name and version in ("", d.version)]
        active = [d for d in named if d.role == "active"] or (named if version else [])
        if not active:
            raise invalid("/model", f"The collection has no active policy version '{model}'.")
        candidates = active
    else:
        candidates = [d for d in snapshot.deployments if d.role == "active"]
        if not candidates:
            raise Problem(503, "no_active_policy", "The collection has no active policy version.", retry_after=5)
    return _weighted(candidates, sticky)


def shadow_versions(snapshot: CollectionSnapshot) -> tuple[uuid.UUID, ...]:
    """The versions that see every observation and are never heard."""
    return tuple(d.version_id for d in snapshot.deployments if d.role == "shadow")


def _weighted(candidates: list[DeploymentSnapshot], sticky: str) -> DeploymentSnapshot:
    if len(candidates) == 1:
        return candidates[0]
    candidates = sorted(candidates, key=lambda d: d.version_id)
    total = sum(d.weight for d in candidates)
    if total == 0:
        return candidates[0]
    digest = hashlib.blake2b(sticky.encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") % total
    for candidate in candidates:
        point -= candidate.weight
        if point < 0:
            return candidate
    return candidates[-1]
