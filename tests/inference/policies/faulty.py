"""Policies that go wrong, each in one way, for the python backend."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.policies.base import ActionChunk, Observation, PolicyInfo

HORIZON, DIMENSIONS = 8, 7


class Scripted:
    """Answers with what ``fault`` says while the instruction is "fail", and well otherwise."""

    def __init__(self, fault: str = "raise") -> None:
        self.fault = fault
        self.info = PolicyInfo(
            name="scripted",
            cameras=("base", "wrist"),
            image_size=(32, 32),
            state_size=7,
            action_names=("x", "y", "z", "roll", "pitch", "yaw", "gripper"),
            horizon=HORIZON,
        )

    def load(self) -> None:
        """Nothing to load."""

    def infer(self, observations: Sequence[Observation]) -> list[Any]:
        chunks = [self._faulty() if o.instruction == "fail" else _well() for o in observations]
        return chunks[:-1] if chunks[-1] is None else chunks

    def _faulty(self) -> Any:
        match self.fault:
            case "NaN":
                return ActionChunk(np.full((HORIZON, DIMENSIONS), np.nan, np.float32))
            case "infinity":
                return ActionChunk(np.full((HORIZON, DIMENSIONS), np.inf, np.float32))
            case "short":
                return ActionChunk(np.zeros((HORIZON - 1, DIMENSIONS), np.float32))
            case "narrow":
                return ActionChunk(np.zeros((HORIZON, DIMENSIONS - 1), np.float32))
            case "no chunk":
                return np.zeros((HORIZON, DIMENSIONS), np.float32)
            case "one too few":
                return None
            case "confidence":
                return ActionChunk(np.zeros((HORIZON, DIMENSIONS), np.float32), confidence=float("nan"))
            case "transposed beyond the limits":
                return ActionChunk(np.full((DIMENSIONS, HORIZON), 9.0, np.float32).T, confidence=np.float32(0.5))
            case _:
                raise RuntimeError("CUDA error: an illegal memory access was encountered at /secret/path.cu:17")


class Gated(Scripted):
    """Waits in ``infer`` until its gate is opened."""

    gate = threading.Event()
    waiting = threading.Event()

    def infer(self, observations: Sequence[Observation]) -> list[Any]:
        self.waiting.set()
        assert self.gate.wait(10)
        return super().infer(observations)


def _well() -> ActionChunk:
    return ActionChunk(np.full((HORIZON, DIMENSIONS), 0.1, np.float32))
