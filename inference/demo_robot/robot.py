"""The demo robot: looks, asks the API what to do, does it, and says how it went."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.demo_robot.client import ApiClient, ApiUnavailableError
from inference.demo_robot.description import (
    INSTRUCTION_TEMPLATES,
    MAX_STEPS_PER_EPISODE,
    RATE_HZ,
    STEPS_PER_CHUNK,
)
from inference.demo_robot.pictures import to_base64
from inference.demo_robot.scene import FloatArray, PickScene

logger = logging.getLogger(__name__)

DEFAULT_OBSERVATIONS_PER_SECOND = RATE_HZ / STEPS_PER_CHUNK
_DEADLINE_MS = 2000
_OUTCOME_ATTEMPTS = 20
_OUTCOME_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Episode:
    """One attempt: ``name`` is the robot's own, ``outcome`` what was reported."""

    name: str
    instruction: str
    outcome: str
    steps: int


class Pace:
    """Keeps ``wait`` returning at most ``per_second`` times a second, without catching up on time that was lost."""

    def __init__(self, per_second: float) -> None:
        self._period = 1 / per_second
        self._next = time.monotonic()

    def wait(self) -> None:
        """Sleep until the next tick is due."""
        now = time.monotonic()
        self._next = max(self._next + self._period, now)
        time.sleep(self._next - now)


class DemoRobot:
    """Drives a simulated arm with chunks from the API: asks, carries out the first steps blindly, looks again.

    ``observations_per_second`` is the speed of its life: at the default the simulation runs in real time.
    """

    def __init__(
        self,
        *,
        client: ApiClient,
        scene: PickScene,
        collection: str,
        name: str,
        observations_per_second: float = DEFAULT_OBSERVATIONS_PER_SECOND,
        seed: int | None = None,
    ) -> None:
        self._client = client
        self._scene = scene
        self._collection = collection
        self._name = name
        self._generator = np.random.default_rng(seed)
        self._pace = Pace(observations_per_second * STEPS_PER_CHUNK)

    def run_episode(self) -> Episode:
        """New cubes, a new instruction, and up to ``MAX_STEPS_PER_EPISODE`` control steps.

        Raises ``ApiError`` when the API refuses the robot, which no other try would change.
        """
        scene = self._scene
        scene.reset()
        name = f"pick-{uuid.uuid4().hex[:12]}"
        instruction = str(self._generator.choice(INSTRUCTION_TEMPLATES)).format(color=scene.target_color)
        step = answers = 0
        interrupted = False
        while step < MAX_STEPS_PER_EPISODE and not scene.is_lifted():
            try:
                answer = self._client.infer(self._observation(name, instruction, step))
            except ApiUnavailableError as error:
                logger.warning("Episode %s is aborted: %s", name, error)
                interrupted = True
                break
            answers += 1
            for action in self._steps_of(answer):
                self._pace.wait()
                scene.apply(action)
                step += 1
        outcome = "aborted" if interrupted else "success" if scene.is_lifted() else "failure"
        if answers:
            self._report(name, outcome)
        return Episode(name=name, instruction=instruction, outcome=outcome, steps=step)

    def _observation(self, episode: str, instruction: str, step: int) -> dict[str, Any]:
        return {
            "collection": self._collection,
            "robot": self._name,
            "episode": episode,
            "step": step,
            "instruction": instruction,
            "state": self._scene.state().tolist(),
            "images": {camera: to_base64(picture) for camera, picture in self._scene.images().items()},
            "deadline_ms": _DEADLINE_MS,
        }

    def _steps_of(self, answer: Mapping[str, Any]) -> FloatArray:
        """What to carry out before looking again, ``float32 [steps, 4]``: a rejected chunk means holding still."""
        actions = np.asarray(answer["actions"], dtype=np.float32)
        if len(actions) == 0:
            opening = self._scene.state()[-1]
            return np.tile(np.array([0.0, 0.0, 0.0, opening], dtype=np.float32), (STEPS_PER_CHUNK, 1))
        return actions[:STEPS_PER_CHUNK]

    def _report(self, name: str, outcome: str) -> None:
        # The last answer may arrive a moment before its record does.
        for _ in range(_OUTCOME_ATTEMPTS):
            try:
                episode_id = self._client.find_episode(collection=self._collection, robot=self._name, external_id=name)
                if episode_id is not None:
                    self._client.report_outcome(episode_id, outcome)
                    return
            except ApiUnavailableError as error:
                logger.warning("The outcome of episode %s is not reported: %s", name, error)
                return
            time.sleep(_OUTCOME_PAUSE_S)
        logger.warning("The outcome of episode %s is not reported: the API does not know it.", name)
