"""A scripted controller that picks up a cube it is told the place of: the teacher of the demo policy.

It has no memory: the same scene gives the same plan. So every state that a policy gets itself into can be labelled
with what the expert would have done from there, which is what recovering from mistakes is learnt from
(Laskey et al., 2017, DART).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inference.demo_robot.scene import CUBE_SIZE, FloatArray, SceneState, Vector

OPEN = 0.08
CLOSED = 0.0

_MAX_STEP = 0.015
_HOVER_HEIGHT = 0.10
_LIFT_HEIGHT = 0.20
_FUNNEL_RADIUS = 0.008
_FUNNEL_SLOPE = 4.0
_GRASP_RADIUS = 0.012
_GRASP_HEIGHT = 0.012
_GRIPPED_OPENING = CUBE_SIZE + 0.008


def plan(scene: SceneState, color: str, horizon: int) -> FloatArray:
    """The next ``horizon`` actions, ``float32 [horizon, 4]``, towards lifting the cube of ``color``.

    The steps are imagined, not simulated: the hand is taken to arrive where it is sent, and a cube between closed
    fingers to follow it.
    """
    hand, cube, opening = scene.hand.copy(), scene.cubes[color].copy(), scene.gripper_opening
    actions = np.empty((horizon, 4), dtype=np.float32)
    for step in range(horizon):
        action = next_action(hand, opening, cube)
        actions[step] = action
        between_fingers = _is_within_grasp(cube - hand)
        opening = max(float(action[3]), CUBE_SIZE) if between_fingers else float(action[3])
        hand += action[:3]
        if between_fingers and opening <= _GRIPPED_OPENING:
            cube += action[:3]
    return actions


def next_action(hand: Vector, opening: float, cube: Vector) -> Vector:
    """One action ``[4]``: approach above the cube, descend, close the fingers, lift."""
    offset = cube - hand
    if _is_within_grasp(offset):
        if opening > _GRIPPED_OPENING:
            return np.array([*_limited(offset), CLOSED])
        return np.array([0.0, 0.0, *_limited(np.array([_LIFT_HEIGHT - hand[2]])), CLOSED])
    distance = float(np.linalg.norm(offset[:2]))
    # The permitted height falls with the distance, so that the fingers come down around the cube and not onto it.
    height = np.clip((distance - _FUNNEL_RADIUS) * _FUNNEL_SLOPE, 0.0, _HOVER_HEIGHT)
    if opening < CUBE_SIZE + 0.02:
        height = _HOVER_HEIGHT
    return np.array([*_limited(offset + np.array([0.0, 0.0, height])), OPEN])


def _is_within_grasp(offset: Vector) -> bool:
    return float(np.linalg.norm(offset[:2])) < _GRASP_RADIUS and abs(float(offset[2])) < _GRASP_HEIGHT


def _limited(displacement: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(displacement, -_MAX_STEP, _MAX_STEP)
