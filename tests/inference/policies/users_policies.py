"""Classes as users write them, for the python backend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.policies.base import ActionChunk, Observation, PolicyInfo


class HoldStill:
    """A policy by its methods alone: it inherits nothing."""

    def __init__(self, horizon: int = 8) -> None:
        self.info = PolicyInfo(
            name="hold-still",
            cameras=("base", "wrist"),
            image_size=(96, 96),
            state_size=7,
            action_names=("dx", "dy", "dz", "gripper"),
            horizon=horizon,
        )

    def load(self) -> None:
        """Nothing to load."""

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return [ActionChunk(np.zeros((self.info.horizon, 4), dtype=np.float32)) for _ in observations]


class Unloadable(HoldStill):
    """Its weights are gone."""

    def load(self) -> None:
        raise FileNotFoundError("weights.bin")


class NotAPolicy:
    """Has none of the methods."""
