"""openpi's observations in this system's fields, and what its handshake tells a robot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from collections_app.snapshots import CollectionSnapshot
from core.problems import Problem, invalid

_NAMES = ("robot", "episode", "step", "model", "deadline_ms", "cache", "request_id")


def metadata(snapshot: CollectionSnapshot) -> dict[str, Any]:
    """The first frame: what the collection's policy wants and gives."""
    active = [d for d in snapshot.deployments if d.role == "active"]
    return {
        "collection": snapshot.slug,
        "action_space": [
            {"name": d.name, "unit": d.unit, "kind": d.kind, "low": d.low, "high": d.high} for d in snapshot.dimensions
        ],
        "action_dim": len(snapshot.dimensions),
        "action_horizon": snapshot.horizon,
        "horizon": snapshot.horizon,
        "cameras": list(snapshot.cameras),
        "state_size": snapshot.state_size,
        "state_names": list(snapshot.state_names),
        "control_rate_hz": snapshot.control_rate_hz,
        "rate_hz": snapshot.control_rate_hz,
        "policy": {"name": active[0].name, "version": active[0].version} if active else None,
        "policy_version": f"{active[0].name}@{active[0].version}" if active else None,
    }


def to_request(observation: Mapping[str, Any], snapshot: CollectionSnapshot) -> dict[str, Any]:
    """An observation by the collection's mapping, or by the usual keys (contract section 5). Raises ``Problem`` 400."""
    mapping = snapshot.observation_mapping
    fields: dict[str, Any] = {name: _scalar(observation[name]) for name in _NAMES if observation.get(name) is not None}
    instruction = observation.get(mapping.get("instruction", "prompt"))
    fields["instruction"] = _scalar(instruction)
    fields["state"] = _state(observation, mapping.get("state"))
    fields["images"] = _images(observation, mapping.get("cameras"), snapshot)
    return fields


def describe(problem: Problem) -> str:
    """A problem as the text frame that openpi's client raises."""
    told = "; ".join(f"{error.pointer}: {error.detail}" for error in problem.errors)
    return f"{problem.code}: {problem.detail} {told}".strip()


def _state(observation: Mapping[str, Any], mapped: Any) -> Any:
    if mapped:
        parts = [mapped] if isinstance(mapped, str) else list(mapped)
        missing = [name for name in parts if name not in observation]
        if missing:
            raise invalid(f"/{missing[0]}", "The observation lacks this key.")
        return _joined([observation[name] for name in parts])
    for name in ("state", "observation/state"):
        if name in observation:
            return _joined([observation[name]])
    if "observation/joint_position" in observation:
        parts = [observation["observation/joint_position"]]
        if "observation/gripper_position" in observation:
            parts.append(observation["observation/gripper_position"])
        return _joined(parts)
    raise invalid("/state", "The observation has no state.")


def _joined(parts: list[Any]) -> Any:
    try:
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])
    except (TypeError, ValueError):
        raise invalid("/state", "Must hold numbers.") from None


def _images(observation: Mapping[str, Any], mapped: Any, snapshot: CollectionSnapshot) -> dict[str, Any]:
    if mapped:
        missing = [name for name in mapped.values() if name not in observation]
        if missing:
            raise invalid(f"/{missing[0]}", "The observation lacks this key.")
        return {camera: observation[name] for camera, name in mapped.items()}
    given = observation.get("images")
    if isinstance(given, Mapping):
        return {_text(camera): image for camera, image in given.items()}
    return {
        camera: observation[f"observation/{camera}"]
        for camera in snapshot.cameras
        if f"observation/{camera}" in observation
    }


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.size == 1:
        return value.item()
    return _text(value) if isinstance(value, bytes) else value


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
