"""The shipped policy looks, listens and feels: its actions follow the image, the instruction and the state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from inference.demo_robot.description import ACTION_DIMENSIONS
from inference.demo_robot.pictures import as_served
from inference.demo_robot.scene import PickScene
from inference.policies.base import FloatArray, Observation, Policy
from inference.policies.handler import create_policy
from tests.inference.policies.observations import observation_for

pytestmark = pytest.mark.ml

DY, DZ = 1, 2
HAND = np.array([-0.02, 0.0, 0.16])
LEFT, RIGHT, FAR = np.array([-0.02, 0.12]), np.array([-0.02, -0.12]), np.array([-0.13, 0.0])


@pytest.fixture(scope="module")
def policy() -> Iterator[Policy]:
    policy = create_policy("compact", {"device": "cpu"})
    policy.load()
    yield policy
    policy.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[PickScene]:
    with PickScene(seed=0) as scene:
        yield scene


def observe(scene: PickScene, policy: Policy, instruction: str, **cubes: np.ndarray) -> Observation:
    """What the robot sees with its hand at ``HAND`` and cubes at these places."""
    for color, place in cubes.items():
        scene.place_cube(color, place)
    scene.place_hand(HAND)
    images = {camera: as_served(picture, policy.info.image_size) for camera, picture in scene.images().items()}
    return Observation(images, scene.state(), instruction)


def mean_action(policy: Policy, observation: Observation) -> FloatArray:
    return policy.infer([observation])[0].actions.mean(axis=0)


def test_the_instruction_chooses_the_direction(policy: Policy, scene: PickScene) -> None:
    cubes = {"red": LEFT, "blue": RIGHT, "green": FAR}

    towards_red = mean_action(policy, observe(scene, policy, "pick up the red cube", **cubes))
    towards_blue = mean_action(policy, observe(scene, policy, "pick up the blue cube", **cubes))

    assert towards_red[DY] > 0.005
    assert towards_blue[DY] < -0.005


def test_the_image_chooses_the_direction(policy: Policy, scene: PickScene) -> None:
    instruction = "pick up the red cube"

    to_the_left = mean_action(policy, observe(scene, policy, instruction, red=LEFT, blue=RIGHT, green=FAR))
    to_the_right = mean_action(policy, observe(scene, policy, instruction, red=RIGHT, blue=LEFT, green=FAR))

    assert to_the_left[DY] > 0.005
    assert to_the_right[DY] < -0.005


def test_the_state_decides_whether_to_lift(policy: Policy, scene: PickScene) -> None:
    scene.place_cube("red", HAND[:2])
    scene.place_hand(np.array([*HAND[:2], 0.02]))
    images = {camera: as_served(picture, policy.info.image_size) for camera, picture in scene.images().items()}
    open_state, closed_state = scene.state(), scene.state()
    closed_state[6] = 0.04

    around, gripped = policy.infer(
        [Observation(images, state, "pick up the red cube") for state in (open_state, closed_state)]
    )

    # With open fingers around the cube it closes them first, with closed ones it is already on its way up.
    assert gripped.actions[0, DZ] > around.actions[0, DZ] + 0.002


def test_every_phrasing_that_was_taught_reaches_the_same_cube(policy: Policy, scene: PickScene) -> None:
    observation = observe(scene, policy, "", red=LEFT, blue=RIGHT, green=FAR)

    for text in ("pick up the red cube", "lift the red cube", "grab the red block", "Please pick the RED block up!"):
        action = mean_action(policy, Observation(observation.images, observation.state, text))
        assert action[DY] > 0.005, text


@pytest.mark.parametrize("text", ["", "   ", "défaire le nœud 🪢", "zxqv " * 500])
def test_words_never_seen_are_no_error(policy: Policy, scene: PickScene, text: str) -> None:
    actions = policy.infer([observe(scene, policy, text)])[0].actions

    assert np.isfinite(actions).all()


def test_a_missing_camera_is_no_error(policy: Policy, scene: PickScene) -> None:
    seen = observe(scene, policy, "pick up the red cube")

    [chunk] = policy.infer([Observation({"base": seen.images["base"]}, seen.state, seen.instruction)])

    assert np.isfinite(chunk.actions).all()


def test_actions_stay_within_the_robots_limits(policy: Policy) -> None:
    actions = np.stack([c.actions for c in policy.infer([observation_for(policy.info, seed=s) for s in range(8)])])

    for index, dimension in enumerate(ACTION_DIMENSIONS):
        assert actions[..., index].min() >= dimension.minimum
        assert actions[..., index].max() <= dimension.maximum
