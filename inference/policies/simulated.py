"""A policy that behaves like an accelerator of known speed, for tests and benchmarks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from inference.exceptions import AcceleratorOutOfMemoryError, PolicyConfigurationError, PolicyError
from inference.policies import options as read
from inference.policies.base import ActionChunk, Observation, Policy, PolicyInfo, reject_unknown_options

_OPTIONS = (
    "base_ms",
    "per_sample_ms",
    "horizon",
    "dimensions",
    "action_names",
    "state_size",
    "cameras",
    "image_size",
    "seed",
    "fail_every",
    "oom_above",
)
_ACTION_NAMES = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
# Between the limits of nearly every action space, an opening that cannot be negative included.
_CENTER, _AMPLITUDE = 0.02, 0.01
_ROW_STRIDE = 64


class SimulatedPolicy(Policy):
    """Takes ``base_ms + n * per_sample_ms`` milliseconds for a batch of n.

    Its actions are a smooth function of the state's sum and of the mean of every 64th row of pixels, and nothing else:
    the same observation has the same answer alone and in any batch, so a test can tell whose answer it got.

    Options: ``base_ms`` and ``per_sample_ms`` (0); ``horizon`` (8); ``action_names``, or ``dimensions`` for names
    that do not matter (7); ``state_size`` (7); ``cameras`` (base, wrist); ``image_size`` (224x224); ``seed`` (1),
    which changes all answers; ``fail_every``: each so many calls of ``infer``, one raises ``PolicyError``;
    ``oom_above``: batches larger than this raise ``AcceleratorOutOfMemoryError``.
    """

    backend: ClassVar[str] = "simulated"
    follows_collection: ClassVar[bool] = True

    def __init__(
        self,
        *,
        info: PolicyInfo,
        base_ms: float = 0.0,
        per_sample_ms: float = 0.0,
        seed: int = 1,
        fail_every: int | None = None,
        oom_above: int | None = None,
    ) -> None:
        self._info = info
        self._base_ms = base_ms
        self._per_sample_ms = per_sample_ms
        self._fail_every = fail_every
        self._oom_above = oom_above
        self._calls = 0
        # One phase per dimension, moving on slowly along the horizon.
        phases = np.random.default_rng(seed).uniform(0.0, 2 * np.pi, len(info.action_names))
        self._phases = 0.1 * np.arange(info.horizon)[:, None] + phases

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        reject_unknown_options(options, _OPTIONS, backend=cls.backend)
        return cls(
            info=PolicyInfo(
                name="simulated",
                cameras=read.names(options, "cameras") or ("base", "wrist"),
                image_size=read.image_size(options, "image_size", default=(224, 224)),
                state_size=read.count(options, "state_size", default=7),
                action_names=_action_names(options),
                horizon=read.count(options, "horizon", default=8),
            ),
            base_ms=read.number(options, "base_ms", default=0.0),
            per_sample_ms=read.number(options, "per_sample_ms", default=0.0),
            seed=read.count(options, "seed", default=1),
            fail_every=read.optional_count(options, "fail_every"),
            oom_above=read.optional_count(options, "oom_above"),
        )

    @property
    def info(self) -> PolicyInfo:
        return self._info

    def load(self) -> None:
        """Nothing to load."""

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        started = time.perf_counter()
        self._calls += 1
        if self._fail_every is not None and self._calls % self._fail_every == 0:
            raise PolicyError("The simulated accelerator failed, as it was told to.")
        if self._oom_above is not None and len(observations) > self._oom_above:
            raise AcceleratorOutOfMemoryError(f"A batch of {len(observations)} does not fit; {self._oom_above} do.")
        chunks = [self._chunk(observation) for observation in observations]
        due = started + (self._base_ms + len(observations) * self._per_sample_ms) / 1000
        remaining = due - time.perf_counter()
        if remaining > 0:
            time.sleep(remaining)
        return chunks

    def _chunk(self, observation: Observation) -> ActionChunk:
        signal = float(np.add.reduce(observation.state))
        for image in observation.images.values():
            rows = image[::_ROW_STRIDE]
            signal += float(np.add.reduce(rows, axis=None)) / (255 * rows.size)
        actions = _CENTER + _AMPLITUDE * np.sin(self._phases + signal)
        return ActionChunk(actions.astype(np.float32))


def _action_names(options: Mapping[str, Any]) -> tuple[str, ...]:
    given, dimensions = read.names(options, "action_names"), read.optional_count(options, "dimensions")
    if given is not None:
        if dimensions not in (None, len(given)):
            raise PolicyConfigurationError(
                f"The options 'dimensions' ({dimensions}) and 'action_names' ({len(given)} names) do not agree."
            )
        return given
    if dimensions is None:
        return _ACTION_NAMES
    return tuple(f"action_{index}" for index in range(dimensions))
