"""Measure a policy in closed loop on the demo robot, without the system around it.

    python -m inference.demo_robot.evaluate --episodes 50 --option checkpoint=policy.safetensors

Prints each episode, then how many ended with the cube in the air.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.demo_robot.description import (
    INSTRUCTION_TEMPLATES,
    MAX_STEPS_PER_EPISODE,
    STEPS_PER_CHUNK,
)
from inference.demo_robot.pictures import as_served
from inference.demo_robot.scene import PickScene
from inference.policies.base import Observation, Policy
from inference.policies.handler import create_policy


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """``reached_right_cube``: the hand came closest to the cube that was asked for, by the end of the episode."""

    lifted: bool
    reached_right_cube: bool
    steps: int


def run_episode(policy: Policy, scene: PickScene, instruction: str) -> EpisodeResult:
    """Let a loaded ``policy`` try to lift the scene's target cube within ``MAX_STEPS_PER_EPISODE`` steps."""
    steps = 0
    while steps < MAX_STEPS_PER_EPISODE and not scene.is_lifted():
        images = {camera: as_served(picture, policy.info.image_size) for camera, picture in scene.images().items()}
        [chunk] = policy.infer([Observation(images, scene.state(), instruction)])
        for action in chunk.actions[:STEPS_PER_CHUNK]:
            scene.apply(action)
            steps += 1
    truth = scene.truth()
    distances = {color: float(np.linalg.norm(cube - truth.hand)) for color, cube in truth.cubes.items()}
    nearest = min(distances, key=distances.__getitem__)
    return EpisodeResult(lifted=scene.is_lifted(), reached_right_cube=nearest == scene.target_color, steps=steps)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure a policy in closed loop on the demo robot.")
    parser.add_argument("--backend", default="compact")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1_000_000, help="training seeds are small; this one is unseen")
    given = parser.parse_args(arguments)
    policy = create_policy(given.backend, dict(option.split("=", 1) for option in given.option))
    policy.load()
    generator = np.random.default_rng(given.seed)
    results = []
    with PickScene(seed=given.seed) as scene:
        for episode in range(given.episodes):
            scene.reset()
            instruction = str(generator.choice(INSTRUCTION_TEMPLATES)).format(color=scene.target_color)
            results.append(run_episode(policy, scene, instruction))
            print(f"{episode}: {instruction}: {results[-1]}", flush=True)  # noqa: T201
    policy.close()
    lifted = sum(result.lifted for result in results)
    reached = sum(result.reached_right_cube for result in results)
    print(f"lifted {lifted} of {len(results)}, ended at the right cube {reached} of {len(results)}")  # noqa: T201


if __name__ == "__main__":
    main()
