"""What the demo robot is: its actions, state, cameras and instructions, as plain data that imports nothing.

Whoever creates the demo collection, trains a policy for it or drives the robot reads the same numbers here.
"""

from __future__ import annotations

from typing import NamedTuple


class ActionDimension(NamedTuple):
    """One number that the robot is told at each control step. ``max_step_change`` is per step, in ``unit``."""

    name: str
    unit: str
    minimum: float
    maximum: float
    max_step_change: float


class StateDimension(NamedTuple):
    """One number that the robot reports about itself."""

    name: str
    unit: str


ROBOT_NAME = "panda-sim"
ROBOT_MODEL = "Franka Emika Panda (PyBullet)"

RATE_HZ = 10.0
"""Control steps per second of the robot's own time."""

HORIZON = 8
"""Steps in one action chunk: 0.8 s."""

STEPS_PER_CHUNK = 4
"""Steps of a chunk that the robot executes before it looks again."""

ACTION_DIMENSIONS: tuple[ActionDimension, ...] = (
    ActionDimension("dx", "m", -0.05, 0.05, 0.08),
    ActionDimension("dy", "m", -0.05, 0.05, 0.08),
    ActionDimension("dz", "m", -0.05, 0.05, 0.08),
    ActionDimension("gripper", "m", 0.0, 0.08, 0.08),
)
"""Displacement of the hand in this step, in the world's axes (x away from the robot's base, z up), and the opening
that the gripper should have."""

ACTION_NAMES: tuple[str, ...] = tuple(dimension.name for dimension in ACTION_DIMENSIONS)

STATE_DIMENSIONS: tuple[StateDimension, ...] = (
    StateDimension("ee_x", "m"),
    StateDimension("ee_y", "m"),
    StateDimension("ee_z", "m"),
    StateDimension("ee_vx", "m/s"),
    StateDimension("ee_vy", "m/s"),
    StateDimension("ee_vz", "m/s"),
    StateDimension("gripper_opening", "m"),
)

CAMERAS: tuple[str, ...] = ("base", "wrist")
IMAGE_SIZE: tuple[int, int] = (192, 192)
"""Height and width of the pictures that the robot sends."""

CUBE_COLORS: tuple[str, ...] = ("red", "green", "blue")

INSTRUCTION_TEMPLATES: tuple[str, ...] = (
    "pick up the {color} cube",
    "lift the {color} cube",
    "grab the {color} block",
    "please pick the {color} block up",
)
INSTRUCTIONS: tuple[str, ...] = tuple(
    template.format(color=color) for template in INSTRUCTION_TEMPLATES for color in CUBE_COLORS
)

MAX_STEPS_PER_EPISODE = 100
"""An attempt that has not lifted its cube after this many control steps has failed."""
