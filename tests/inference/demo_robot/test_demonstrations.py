from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.demo_robot import demonstrations, expert
from inference.demo_robot.description import ACTION_NAMES, CAMERAS, CUBE_COLORS, HORIZON, INSTRUCTIONS
from inference.policies.compact.dataset import Demonstrations


@pytest.fixture(scope="module")
def recorded() -> Demonstrations:
    return demonstrations.record(frames=6, seed=3, image_size=(48, 48))


def test_each_frame_has_an_example_for_every_colour_that_could_be_asked_for(recorded: Demonstrations) -> None:
    assert len(recorded.states) >= 6
    assert set(recorded.instructions) <= set(INSTRUCTIONS)
    first = [text for text, frame in zip(recorded.instructions, recorded.frame_of, strict=True) if frame == 0]
    assert len(first) == len(CUBE_COLORS)
    assert all(sum(color in text for text in first) == 1 for color in CUBE_COLORS)


def test_the_arrays_have_the_shapes_that_training_wants(recorded: Demonstrations) -> None:
    frames = len(recorded.states)
    assert set(recorded.images) == set(CAMERAS)
    assert all(pictures.shape == (frames, 48, 48, 3) for pictures in recorded.images.values())
    assert recorded.actions.shape == (len(recorded), HORIZON, len(ACTION_NAMES))
    assert recorded.frame_of.max() == frames - 1


def test_the_same_seed_records_the_same(recorded: Demonstrations) -> None:
    again = demonstrations.record(frames=6, seed=3, image_size=(48, 48))

    np.testing.assert_allclose(again.actions, recorded.actions)
    assert again.instructions == recorded.instructions


def test_a_disturbance_pushes_the_arm_off_the_experts_path() -> None:
    disturbance = demonstrations.Disturbance(np.random.default_rng(2))
    action = np.array([0.01, 0.0, 0.0, expert.OPEN], dtype=np.float32)

    disturbed = np.stack([disturbance.disturb(action) for _ in range(200)])

    assert np.abs(disturbed[:, :3] - action[:3]).max() > 0.01
    assert (disturbed[:, 3] == expert.CLOSED).any()
    assert action[3] == np.float32(expert.OPEN)


def test_an_interrupted_recording_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = tmp_path / "shard_000000.npz"
    done.write_bytes(b"recorded before")
    monkeypatch.setattr(demonstrations, "record", lambda **_: pytest.fail("it was recorded twice"))

    demonstrations.record_shard(tmp_path, 0, (48, 48))

    assert done.read_bytes() == b"recorded before"
