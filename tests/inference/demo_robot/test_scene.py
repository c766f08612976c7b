from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from inference.demo_robot import expert
from inference.demo_robot.description import (
    ACTION_DIMENSIONS,
    CAMERAS,
    CUBE_COLORS,
    HORIZON,
    IMAGE_SIZE,
    MAX_STEPS_PER_EPISODE,
    STATE_DIMENSIONS,
    STEPS_PER_CHUNK,
)
from inference.demo_robot.scene import PickScene


@pytest.fixture(scope="module")
def scene() -> Iterator[PickScene]:
    with PickScene(seed=5) as scene:
        yield scene


def test_both_cameras_see_a_cube_move(scene: PickScene) -> None:
    scene.reset()
    before = scene.images()
    scene.place_cube("red", scene.truth().cubes["red"][:2] + np.array([0.05, 0.05]))
    after = scene.images()

    assert set(before) == set(CAMERAS)
    for camera in CAMERAS:
        assert before[camera].shape == (*IMAGE_SIZE, 3)
        assert before[camera].dtype == np.uint8
        assert (before[camera] != after[camera]).any(), camera


def test_the_state_says_where_the_hand_is_and_how_wide_it_is_open(scene: PickScene) -> None:
    scene.reset()
    scene.place_hand(np.array([0.02, -0.05, 0.15]), opening=0.06)

    state = scene.state()

    assert state.shape == (len(STATE_DIMENSIONS),)
    assert state.dtype == np.float32
    np.testing.assert_allclose(state[:3], [0.02, -0.05, 0.15], atol=0.01)
    assert state[6] == pytest.approx(0.06, abs=0.005)


def test_a_step_moves_the_hand_by_about_what_was_asked(scene: PickScene) -> None:
    scene.reset()
    before = scene.truth().hand
    for _ in range(4):
        scene.apply(np.array([0.02, 0.01, -0.02, 0.08], dtype=np.float32))

    np.testing.assert_allclose(scene.truth().hand - before, [0.08, 0.04, -0.08], atol=0.03)


def test_cubes_stand_apart_so_that_fingers_fit_between(scene: PickScene) -> None:
    for _ in range(20):
        scene.reset()
        places = list(scene.truth().cubes.values())
        distances = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
        assert min(distances) > 0.085


def test_the_same_seed_gives_the_same_episodes() -> None:
    with PickScene(seed=9) as one, PickScene(seed=9) as other:
        assert one.target_color == other.target_color
        for color in CUBE_COLORS:
            np.testing.assert_array_equal(one.truth().cubes[color], other.truth().cubes[color])


def test_the_expert_lifts_every_cube_it_is_asked_for_within_the_limits(scene: PickScene) -> None:
    low = np.array([dimension.minimum for dimension in ACTION_DIMENSIONS])
    high = np.array([dimension.maximum for dimension in ACTION_DIMENSIONS])
    for episode in range(6):
        scene.reset(scatter_hand=episode % 2 == 1)
        steps = 0
        while not scene.is_lifted() and steps < MAX_STEPS_PER_EPISODE:
            chunk = expert.plan(scene.truth(), scene.target_color, HORIZON)
            assert chunk.shape == (HORIZON, len(ACTION_DIMENSIONS))
            assert ((chunk >= low) & (chunk <= high)).all()
            for action in chunk[:STEPS_PER_CHUNK]:
                scene.apply(action)
                steps += 1
        assert scene.is_lifted(), f"episode {episode}, the {scene.target_color} cube"
