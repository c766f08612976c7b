"""A recorded episode as a policy: what was sent then is said again wherever the robot's state is like it was then."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from inference.exceptions import PolicyConfigurationError, PolicyLoadError
from inference.policies import options as read
from inference.policies.base import ActionChunk, FloatArray, Observation, Policy, PolicyInfo, reject_unknown_options

_OPTIONS = ("path", "episode", "cameras", "image_size", "state_size", "action_names", "horizon")


class ReplayPolicy(Policy):
    """Answers with the chunk of the recorded step whose state is nearest, each joint scaled by how far it moved.

    It keeps no place in the episode, as no policy may: a robot that was pushed off its path falls in with the nearest
    step. Images and instruction are not looked at.

    Options: ``path``, a folder with ``record.json`` files as they lie in storage below ``raw/``, or a ``.jsonl`` file
    with one such record a line (``state``, ``actions``, ``step``), or a ``.parquet`` file of a run; ``episode``, to
    take that one only. The collection gives the sizes; of a longer chunk than its horizon the first steps are taken,
    and rejected records are left out.
    """

    backend: ClassVar[str] = "replay"
    follows_collection: ClassVar[bool] = True

    def __init__(self, *, path: Path, episode: str | None, info: PolicyInfo) -> None:
        self._path = path
        self._episode = episode
        self._info = info
        self._states: FloatArray | None = None
        self._chunks: FloatArray | None = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        reject_unknown_options(options, _OPTIONS, backend=cls.backend)
        path = options.get("path")
        if not isinstance(path, str) or not path:
            raise PolicyConfigurationError(
                "The replay backend needs 'path': a folder of records, a .jsonl or a .parquet file."
            )
        return cls(
            path=Path(path),
            episode=options.get("episode") or None,
            info=PolicyInfo(
                name="replay",
                cameras=read.names(options, "cameras") or ("base",),
                image_size=read.image_size(options, "image_size", default=(224, 224)),
                state_size=read.count(options, "state_size", default=7),
                action_names=read.names(options, "action_names") or tuple(f"action_{n}" for n in range(7)),
                horizon=read.count(options, "horizon", default=8),
                metadata={"path": path},
            ),
        )

    @property
    def info(self) -> PolicyInfo:
        return self._info

    def load(self) -> None:
        try:
            records = [record for record in _records(self._path) if self._is_wanted(record)]
        except (OSError, ValueError) as error:
            raise PolicyLoadError(f"The episode at '{self._path}' cannot be read: {error}") from error
        if not records:
            raise PolicyLoadError(f"There is no recorded step at '{self._path}'.")
        records.sort(key=lambda record: record.get("step") or 0)
        try:
            states = np.array([record["state"] for record in records], np.float32)
            chunks = np.array([record["actions"][: self._info.horizon] for record in records], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise PolicyLoadError(f"The records at '{self._path}' are not of one shape: {error}") from error
        wanted = (self._info.horizon, len(self._info.action_names))
        if states.shape[1:] != (self._info.state_size,) or chunks.shape[1:] != wanted:
            raise PolicyLoadError(
                f"The records have states of {states.shape[1:]} and chunks of {chunks.shape[1:]}; "
                f"{(self._info.state_size,)} and {wanted} are wanted."
            )
        self._scale = 1 / np.maximum(states.std(axis=0), 1e-6)
        self._states, self._chunks = states * self._scale, chunks

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        if self._states is None or self._chunks is None:
            raise PolicyLoadError("The replay policy is not loaded.")
        nearest = [
            int(np.argmin(((self._states - observation.state * self._scale) ** 2).sum(axis=1)))
            for observation in observations
        ]
        return [ActionChunk(self._chunks[index].copy()) for index in nearest]

    def close(self) -> None:
        self._states = self._chunks = None

    def _is_wanted(self, record: Mapping[str, Any]) -> bool:
        return bool(record.get("actions")) and (self._episode is None or record.get("episode") == self._episode)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        yield from parquet.read_table(path, columns=["episode", "step", "state", "actions"]).to_pylist()
        return
    if path.is_dir():
        texts: Iterable[str] = (file.read_text(encoding="utf-8") for file in sorted(path.rglob("record.json")))
    else:
        texts = path.read_text(encoding="utf-8").splitlines()
    for text in texts:
        if text.strip():
            yield json.loads(text)
