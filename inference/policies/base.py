"""The policy interface: what every vision-language-action policy offers, and nothing of how it is served.

A policy maps a list of observations to a list of action chunks. It is always a list, so that one path serves one
robot and sixty-four. numpy only at the border; a policy keeps no state between calls (per-episode state lives with
the caller) and knows nothing of queues, users or databases. This package imports no Django.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from inference.exceptions import PolicyConfigurationError

ImageArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Observation:
    """One robot's view of the world at one step.

    ``images``: camera name to ``uint8 [height, width, 3]`` RGB; ``state``: ``float32 [state_size]`` in the
    collection's physical units; ``instruction``: what the robot was asked to do.
    """

    images: Mapping[str, ImageArray]
    state: FloatArray
    instruction: str


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """Actions for the next ``horizon`` control steps: ``float32 [horizon, dimensions]`` in physical units.

    ``confidence`` is the policy's own estimate in 0..1, where it has one.
    """

    actions: FloatArray
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """What a loaded policy wants and gives. Names are in order; sizes are counts.

    ``image_size`` is ``(height, width)`` in pixels: images of any size are resized to it, with padding, by the caller.
    """

    name: str
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    state_size: int
    action_names: tuple[str, ...]
    horizon: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Policy(ABC):
    """A vision-language-action policy. Subclasses are built by ``from_options`` and used by exactly one thread."""

    backend: ClassVar[str]
    # Whether options describe the collection's shape (cameras, state, actions, horizon) instead of a checkpoint's own.
    follows_collection: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build the policy from a version's options; cheap, loads nothing.

        Raises ``PolicyConfigurationError`` when an option is missing, unknown or of the wrong type.
        """

    @property
    @abstractmethod
    def info(self) -> PolicyInfo:
        """Known after ``load()``."""

    @abstractmethod
    def load(self) -> None:
        """Bring the weights into memory and warm up. Raises ``PolicyLoadError``."""

    @abstractmethod
    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, in order. Raises ``AcceleratorOutOfMemoryError`` when the batch does not fit."""

    def close(self) -> None:  # noqa: B027 - most policies have nothing to release
        """Release memory and devices. Safe to call twice."""


def reject_unknown_options(options: Mapping[str, Any], known: Sequence[str], *, backend: str) -> None:
    """Raise ``PolicyConfigurationError`` naming the first option that ``backend`` does not understand."""
    for name in options:
        if name not in known:
            raise PolicyConfigurationError(
                f"The {backend} backend has no option '{name}'. It understands: {', '.join(known) or 'none'}."
            )
