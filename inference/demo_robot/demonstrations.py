"""Record the scripted expert picking up cubes, as training data for the compact policy.

    python -m inference.demo_robot.demonstrations --frames 6000 --out var/demonstrations

The expert's path is disturbed on purpose (DART: Laskey et al., 2017), and each frame is labelled with the expert's
undisturbed plan for every colour, so that the policy learns to recover and to listen.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from inference.demo_robot import expert
from inference.demo_robot.description import CAMERAS, CUBE_COLORS, HORIZON, INSTRUCTION_TEMPLATES
from inference.demo_robot.pictures import as_served
from inference.demo_robot.scene import PickScene, SceneState, Vector
from inference.policies.base import FloatArray, ImageArray
from inference.policies.compact.dataset import Demonstrations

FRAMES_PER_SHARD = 250
_MAX_STEPS = 60
_NEAR_A_CUBE = 0.06
_HELD_OPENING = 0.06


class Disturbance:
    """Noise on the expert's actions: a steady tremble, and now and then a push or a twitch of the gripper."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._tremble = generator.choice([0.0, 0.004, 0.01])
        self._push: Vector = np.zeros(3)
        self._push_steps = 0

    def disturb(self, action: FloatArray) -> FloatArray:
        """The action ``[4]`` to carry out instead of ``action``."""
        generator = self._generator
        if self._push_steps == 0 and generator.random() < 0.04:
            self._push, self._push_steps = generator.uniform(-0.03, 0.03, 3), int(generator.integers(1, 4))
        disturbed = action.copy()
        disturbed[:3] += generator.normal(0.0, self._tremble, 3)
        if self._push_steps > 0:
            disturbed[:3] = self._push
            self._push_steps -= 1
        if generator.random() < 0.03:
            disturbed[3] = expert.CLOSED if disturbed[3] > 0 else expert.OPEN
        return disturbed


def record(*, frames: int, seed: int, image_size: tuple[int, int]) -> Demonstrations:
    """Run episodes until at least ``frames`` frames are recorded; ``image_size`` is that of the policy's input."""
    generator = np.random.default_rng(seed)
    images: dict[str, list[ImageArray]] = {camera: [] for camera in CAMERAS}
    states: list[FloatArray] = []
    frame_of: list[int] = []
    instructions: list[str] = []
    actions: list[FloatArray] = []
    with PickScene(seed=seed) as scene:
        while len(states) < frames:
            scene.reset(scatter_hand=bool(generator.random() < 0.6))
            disturbance = Disturbance(generator)
            steps_lifted = 0
            for step in range(_MAX_STEPS):
                truth = scene.truth()
                # Far from the cubes one frame is much like the next.
                if step % 3 == 0 or _is_near_a_cube(truth):
                    for camera, picture in scene.images().items():
                        images[camera].append(as_served(picture, image_size))
                    for color in _labelled_colors(truth, scene.target_color):
                        frame_of.append(len(states))
                        instructions.append(str(generator.choice(INSTRUCTION_TEMPLATES)).format(color=color))
                        actions.append(expert.plan(truth, color, HORIZON))
                    states.append(scene.state())
                scene.apply(disturbance.disturb(expert.plan(truth, scene.target_color, 1)[0]))
                steps_lifted += scene.is_lifted()
                if steps_lifted == 3:
                    break
    return Demonstrations(
        images={camera: np.stack(pictures) for camera, pictures in images.items()},
        states=np.stack(states),
        frame_of=np.array(frame_of, dtype=np.int64),
        instructions=tuple(instructions),
        actions=np.stack(actions),
    )


def _is_near_a_cube(truth: SceneState) -> bool:
    return any(float(np.linalg.norm(cube - truth.hand)) < _NEAR_A_CUBE for cube in truth.cubes.values())


def _labelled_colors(truth: SceneState, target_color: str) -> Sequence[str]:
    """Every colour, or only the target's while something is between the fingers."""
    return CUBE_COLORS if truth.gripper_opening > _HELD_OPENING else (target_color,)


def record_shard(out: Path, seed: int, image_size: tuple[int, int]) -> int:
    """Record ``FRAMES_PER_SHARD`` frames into a file of their own, unless it exists; returns its number, the seed."""
    path = out / f"shard_{seed:06d}.npz"
    if not path.exists():
        record(frames=FRAMES_PER_SHARD, seed=seed, image_size=image_size).save(path)
    return seed


def main(arguments: Sequence[str] | None = None) -> None:
    """Record in several processes; shards that exist already are kept, so an interrupted run goes on."""
    parser = argparse.ArgumentParser(description="Record the scripted expert as training data.")
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--out", type=Path, default=Path("var/demonstrations"))
    parser.add_argument("--seed", type=int, default=0, help="number of the first shard")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    seeds = range(options.seed, options.seed + -(-options.frames // FRAMES_PER_SHARD))
    size = (options.image_size, options.image_size)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        for future in [pool.submit(record_shard, options.out, seed, size) for seed in seeds]:
            print(f"shard {future.result()} is recorded", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
