from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.policies.base import Observation
from inference.policies.compact import train as training
from inference.policies.compact.dataset import Demonstrations
from inference.policies.handler import create_policy

pytestmark = pytest.mark.ml


def demonstrations(*, frames: int = 24, seed: int = 0) -> Demonstrations:
    """Each frame asks for one thing twice: "left" is -1 and "right" is +1, whatever the picture."""
    generator = np.random.default_rng(seed)
    frame_of = np.repeat(np.arange(frames), 2)
    instructions = ("go left", "go right") * frames
    signs = np.array([-1.0, 1.0] * frames, dtype=np.float32)
    return Demonstrations(
        images={"base": generator.integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)},
        states=generator.normal(size=(frames, 3)).astype(np.float32),
        frame_of=frame_of,
        instructions=instructions,
        actions=np.tile(signs[:, None, None], (1, 2, 1)),
    )


def test_a_policy_learns_from_recorded_files_to_do_what_it_is_told(tmp_path: Path) -> None:
    demonstrations(seed=1).save(tmp_path / "a.npz")
    demonstrations(seed=2).save(tmp_path / "b.npz")
    out = tmp_path / "out" / "policy.safetensors"

    training.main(
        ["--data", str(tmp_path), "--out", str(out), "--action-names", "x", "--epochs", "40", "--threads", "1"]
    )
    policy = create_policy("compact", {"checkpoint": str(out), "device": "cpu"})
    policy.load()
    picture, state = np.zeros((32, 32, 3), dtype=np.uint8), np.zeros(3, dtype=np.float32)
    left, right = policy.infer(
        [Observation({"base": picture}, state, instruction) for instruction in ("go left", "go right")]
    )

    assert policy.info.action_names == ("x",)
    assert left.actions.max() < -0.5
    assert right.actions.min() > 0.5


def test_training_may_go_on_from_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demonstrations().save(tmp_path / "a.npz")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    common = ["--data", str(tmp_path), "--action-names", "x", "--threads", "1"]
    training.main([*common, "--out", str(first), "--epochs", "40"])
    capsys.readouterr()

    training.main([*common, "--out", str(second), "--epochs", "1", "--start", str(first)])

    loss = float(capsys.readouterr().out.split("epoch 0: ")[1].split(" ")[0])
    assert loss < 0.2  # a fresh network begins near 0.5


def test_joined_files_keep_each_example_with_its_frame(tmp_path: Path) -> None:
    parts = [demonstrations(frames=3, seed=seed) for seed in (1, 2)]
    paths = [tmp_path / f"{index}.npz" for index in range(2)]
    for part, path in zip(parts, paths, strict=True):
        part.save(path)

    joined = Demonstrations.load(paths)

    assert len(joined) == 12
    np.testing.assert_array_equal(joined.states[joined.frame_of[6:]], parts[1].states[parts[1].frame_of])
    np.testing.assert_array_equal(joined.images["base"][3:], parts[1].images["base"])


def test_examples_of_one_frame_are_never_on_both_sides_of_the_split() -> None:
    data = demonstrations(frames=40)

    learnt, held_out = training.split_by_frame(data.frame_of, seed=0, share=0.25)

    assert len(learnt) + len(held_out) == len(data)
    assert not set(data.frame_of[learnt.numpy()]) & set(data.frame_of[held_out.numpy()])


def test_no_demonstrations_is_an_error() -> None:
    with pytest.raises(ValueError, match="no demonstrations"):
        Demonstrations.load([])
