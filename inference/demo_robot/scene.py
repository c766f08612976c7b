"""A table with coloured cubes and a Franka Panda above it, simulated with PyBullet and drawn without a display.

World axes: x points away from the robot's base, y to its left, z up; the table's top is z = 0 and the base stands at
x = -0.6 m. Lengths are metres. Only the demo robot and the training of its policy import this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from panda_gym.envs.core import Task
from panda_gym.envs.robots.panda import Panda
from panda_gym.pybullet import PyBullet

from inference.demo_robot.description import ACTION_DIMENSIONS, CAMERAS, CUBE_COLORS, IMAGE_SIZE, RATE_HZ

FloatArray = npt.NDArray[np.float32]
ImageArray = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

CUBE_SIZE = 0.04
CUBE_MASS_KG = 0.2
LIFTED_HEIGHT = 0.15
PHYSICS_RATE_HZ = 500.0

_CUBE_RGBA: Mapping[str, tuple[float, float, float, float]] = {
    "red": (0.86, 0.12, 0.13, 1.0),
    "green": (0.13, 0.66, 0.27, 1.0),
    "blue": (0.13, 0.31, 0.88, 1.0),
}
_FURNITURE: Mapping[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = {
    # half extents, centre, RGB
    "table": ((0.55, 0.45, 0.2), (-0.3, 0.0, -0.2), (0.80, 0.74, 0.66)),
    "floor": ((3.0, 3.0, 0.05), (0.0, 0.0, -0.45), (0.36, 0.39, 0.44)),
}
_CUBE_AREA_LOW = np.array([-0.14, -0.16])
_CUBE_AREA_HIGH = np.array([0.12, 0.16])
_CUBE_SPACING = 0.09
_HAND_AREA_LOW = np.array([-0.18, -0.18, 0.03])
_HAND_AREA_HIGH = np.array([0.14, 0.18, 0.28])
_HAND_DOWN = np.array([1.0, 0.0, 0.0, 0.0])
_BACKGROUND_RGB = np.array([226.0, 232.0, 238.0])


@dataclass(frozen=True, slots=True)
class SceneState:
    """Where everything is: what a scripted expert may know and a policy may not. Positions are ``[3]``, metres."""

    hand: Vector
    gripper_opening: float
    cubes: Mapping[str, Vector]


class MetricPanda(Panda):
    """The arm with its commands in metres: displacement of the hand, and the gripper's opening as an absolute value."""

    def set_action(self, action: npt.NDArray[np.floating]) -> None:
        """Aim the joints at ``action`` ``[4]`` (dx, dy, dz, opening); values beyond the limits are clipped."""
        low = [dimension.minimum for dimension in ACTION_DIMENSIONS]
        high = [dimension.maximum for dimension in ACTION_DIMENSIONS]
        command = np.clip(np.asarray(action, dtype=np.float64), low, high)
        target = np.asarray(self.get_ee_position()) + command[:3]
        target[2] = max(target[2], 0.0)
        self.control_joints(target_angles=self._joint_angles(target, command[3]))

    def place(self, position: Vector, opening: float) -> None:
        """Put the hand at ``position`` at once, without moving there."""
        # The solver starts from the present pose; three rounds bring it within a millimetre from anywhere.
        for _ in range(3):
            self.set_joint_angles(self._joint_angles(position, opening))

    def _joint_angles(self, position: Vector, opening: float) -> Vector:
        arm = self.inverse_kinematics(link=self.ee_link, position=position, orientation=_HAND_DOWN)[:7]
        return np.concatenate((arm, [opening / 2, opening / 2]))


class ColoredCubes(Task):
    """Cubes of different colours at random places; the goal is to have the one of ``target_color`` in the air."""

    def __init__(self, sim: PyBullet, generator: np.random.Generator) -> None:
        super().__init__(sim)
        self.np_random = generator
        self.target_color = CUBE_COLORS[0]
        for name, (half_extents, center, rgb) in _FURNITURE.items():
            self.sim.create_box(
                body_name=name,
                half_extents=np.array(half_extents),
                mass=0.0,
                position=np.array(center),
                rgba_color=np.array([*rgb, 1.0]),
                specular_color=np.zeros(3),
            )
        for index, color in enumerate(CUBE_COLORS):
            self.sim.create_box(
                body_name=color,
                half_extents=np.full(3, CUBE_SIZE / 2),
                mass=CUBE_MASS_KG,
                position=np.array([0.0, _CUBE_SPACING * index, CUBE_SIZE / 2]),
                rgba_color=np.array(_CUBE_RGBA[color]),
            )

    def reset(self) -> None:
        """Choose a target colour and new places, at least ``_CUBE_SPACING`` apart so that the fingers fit between."""
        self.target_color = str(self.np_random.choice(CUBE_COLORS))
        places: list[Vector] = []
        while len(places) < len(CUBE_COLORS):
            place = self.np_random.uniform(_CUBE_AREA_LOW, _CUBE_AREA_HIGH)
            if all(np.linalg.norm(place - other) >= _CUBE_SPACING for other in places):
                places.append(place)
        for color, place in zip(CUBE_COLORS, places, strict=True):
            self.place_cube(color, place)
        self.goal = np.array([*places[CUBE_COLORS.index(self.target_color)], LIFTED_HEIGHT])

    def place_cube(self, color: str, place: Vector) -> None:
        """Stand the cube on the table at ``place`` ``[2]``."""
        self.sim.set_base_pose(color, np.array([*place, CUBE_SIZE / 2]), np.array([0.0, 0.0, 0.0, 1.0]))

    def position(self, color: str) -> Vector:
        """The cube's centre ``[3]``."""
        return np.asarray(self.sim.get_base_position(color), dtype=np.float64)

    def get_obs(self) -> Vector:
        """All centres, ``[3 * cubes]``, in the order of ``CUBE_COLORS``."""
        return np.concatenate([self.position(color) for color in CUBE_COLORS])

    def get_achieved_goal(self) -> Vector:
        """The target cube's centre."""
        return self.position(self.target_color)

    def is_success(self, achieved_goal: Vector, desired_goal: Vector) -> npt.NDArray[np.bool_]:
        """Whether the target cube is as high as the goal, wherever over the table."""
        return np.asarray(achieved_goal[..., 2] >= desired_goal[..., 2])

    def compute_reward(
        self, achieved_goal: Vector, desired_goal: Vector, _info: Mapping[str, Any] | None = None
    ) -> npt.NDArray[np.float32]:
        """0 on success and -1 before, as panda-gym's sparse rewards are."""
        return self.is_success(achieved_goal, desired_goal).astype(np.float32) - np.float32(1)


class PickScene:
    """The simulation with its cameras: what the demo robot moves, and what demonstrations are recorded in."""

    def __init__(self, *, seed: int | None = None) -> None:
        self._generator = np.random.default_rng(seed)
        substeps = round(PHYSICS_RATE_HZ / RATE_HZ)
        self._sim = PyBullet(renderer="Tiny", n_substeps=substeps, background_color=_BACKGROUND_RGB)
        self._robot = MetricPanda(self._sim, base_position=np.array([-0.6, 0.0, 0.0]))
        self._task = ColoredCubes(self._sim, self._generator)
        self.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def target_color(self) -> str:
        """The colour of the cube to pick up in this episode."""
        return self._task.target_color

    def reset(self, *, scatter_hand: bool = False) -> None:
        """Begin a new episode; with ``scatter_hand`` the hand starts anywhere over the table, not at its rest pose."""
        self._robot.reset()
        self._task.reset()
        if scatter_hand:
            self.place_hand(self._generator.uniform(_HAND_AREA_LOW, _HAND_AREA_HIGH))
        else:
            self.place_hand(np.array([-0.05, 0.0, 0.24]))

    def place_hand(self, position: Vector, opening: float = 0.08) -> None:
        """Put the hand at ``position`` ``[3]`` with the fingers ``opening`` apart, at rest."""
        self._robot.place(position, opening)
        self.apply(np.array([0.0, 0.0, 0.0, opening], dtype=np.float32))

    def place_cube(self, color: str, place: Vector) -> None:
        """Stand the cube on the table at ``place`` ``[2]``."""
        self._task.place_cube(color, place)

    def apply(self, action: npt.NDArray[np.floating]) -> None:
        """Carry out one control step of ``1 / RATE_HZ`` seconds; ``action`` ``[4]`` as in ``ACTION_DIMENSIONS``."""
        self._robot.set_action(action)
        self._sim.step()

    def is_lifted(self) -> bool:
        """Whether the target cube is in the air."""
        return bool(self._task.is_success(self._task.get_achieved_goal(), self._task.get_goal()))

    def truth(self) -> SceneState:
        """Where the hand and the cubes really are."""
        return SceneState(
            hand=np.asarray(self._robot.get_ee_position(), dtype=np.float64),
            gripper_opening=float(self._robot.get_fingers_width()),
            cubes={color: self._task.position(color) for color in CUBE_COLORS},
        )

    def state(self) -> FloatArray:
        """What the robot's own sensors say, ``float32 [7]``, as in ``STATE_DIMENSIONS``."""
        return np.asarray(self._robot.get_obs(), dtype=np.float32)

    def images(self) -> dict[str, ImageArray]:
        """One picture per camera, ``uint8 [height, width, 3]`` RGB of ``IMAGE_SIZE``."""
        return {camera: self._render(camera) for camera in CAMERAS}

    def close(self) -> None:
        """End the simulation. Safe to call twice."""
        self._sim.close()

    def _render(self, camera: str) -> ImageArray:
        client = self._sim.physics_client
        height, width = IMAGE_SIZE
        eye, target, up, field_of_view = self._view(camera)
        _, _, pixels, _, _ = client.getCameraImage(
            width,
            height,
            viewMatrix=client.computeViewMatrix(eye, target, up),
            projectionMatrix=client.computeProjectionMatrixFOV(field_of_view, width / height, 0.01, 3.0),
            # Shadows double the time and tell little.
            shadow=0,
            lightDirection=[0.4, 0.5, 1.5],
            renderer=client.ER_TINY_RENDERER,
        )
        return np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)[..., :3])

    def _view(self, camera: str) -> tuple[list[float], list[float], list[float], float]:
        """Eye, point looked at, upward direction, and vertical field of view in degrees."""
        if camera == "base":
            return [0.46, 0.34, 0.56], [-0.06, 0.0, 0.085], [0.0, 0.0, 1.0], 40.0
        # On the hand, in front of the fingers, looking down past them at the table.
        x, y, z = self._robot.get_ee_position()
        return [x + 0.075, y, z + 0.10], [x + 0.03, y, z - 0.02], [1.0, 0.0, 0.0], 80.0
