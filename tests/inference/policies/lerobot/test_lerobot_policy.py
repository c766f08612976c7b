"""Policies of the real LeRobot with random weights. Skipped where it is not installed; see requirements/lerobot.txt."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.exceptions import PolicyLoadError
from inference.policies import checkpoint_folder
from inference.policies.base import Policy
from inference.policies.handler import create_policy
from tests.inference.policies.observations import observation_for

pytest.importorskip("lerobot", reason="no lerobot: see requirements/lerobot.txt")

import torch
from safetensors.torch import load_file, save_file

from tests.inference.policies.lerobot import tiny_policies
from tests.inference.policies.tiny_checkpoints import change

pytestmark = pytest.mark.ml


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policies.write_act(tmp_path_factory.mktemp("models") / "act")


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_policies.write_diffusion(tmp_path_factory.mktemp("models") / "diffusion")


@pytest.fixture(scope="module")
def smolvla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return tiny_policies.write_smolvla(folder / "smolvla", folder / "vlm")


def loaded(folder: Path, **options: Any) -> Policy:
    policy = create_policy("lerobot", {"checkpoint": str(folder), "device": "cpu", **options})
    policy.load()
    return policy


def test_act_answers_what_lerobot_itself_answers_in_the_units_of_its_data(act: Path) -> None:
    policy = loaded(act)
    observation = observation_for(policy.info)
    theirs = tiny_policies.ACTPolicy.from_pretrained(act)
    pictures = {
        f"observation.images.{name}": (torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.25
        for name, picture in observation.images.items()
    }
    state = (torch.from_numpy(observation.state)[None] - 0.5) / 0.25

    with torch.no_grad():
        normalised = theirs.predict_action_chunk({"observation.state": state, **pictures})[0].numpy()

    found = policy.infer([observation])[0].actions
    np.testing.assert_allclose(found, normalised * tiny_policies.DEVIATION + tiny_policies.MEAN, atol=1e-4)


@pytest.mark.parametrize("architecture", ["act", "diffusion", "smolvla"])
def test_an_answer_depends_neither_on_neighbours_nor_on_what_was_asked_before(
    architecture: str, request: pytest.FixtureRequest
) -> None:
    policy = loaded(request.getfixturevalue(architecture))
    texts = ("pick up the red cube", "cube", "take the object to the robot", "pick", "the cube")
    observations = [observation_for(policy.info, seed=seed, instruction=text) for seed, text in enumerate(texts)]

    together = policy.infer(observations)
    alone = [policy.infer([observation])[0] for observation in reversed(observations)][::-1]

    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.actions, other.actions, atol=1e-4)
    assert np.abs(together[0].actions - together[1].actions).max() > 1e-3


def test_diffusion_gives_the_steps_from_now_on_that_lerobot_would_give_an_episodes_first_observation(
    diffusion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = loaded(diffusion)
    observation = observation_for(policy.info)
    theirs: Any = copy.deepcopy(policy._policy)  # type: ignore[attr-defined]
    batch = policy._before(policy._batch([observation]))  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(1)
    step = theirs.diffusion.noise_scheduler.step
    monkeypatch.setattr(
        theirs.diffusion.noise_scheduler, "step", lambda *a, **k: step(*a, **{**k, "generator": generator})
    )
    noise = torch.randn(1, 8, 4, generator=torch.Generator().manual_seed(0))
    seen = {name: value for name, value in batch.items() if name.startswith("observation.")}

    with torch.no_grad():
        first = theirs.select_action(seen, noise=noise)
        rest = [theirs.select_action(seen) for _ in range(5)]

    expected = policy._after(torch.stack([first, *rest], dim=1))[0].numpy()  # type: ignore[attr-defined]
    np.testing.assert_allclose(policy.infer([observation])[0].actions, expected, atol=1e-4)


def test_smolvla_finds_its_language_model_where_it_was_moved_to(smolvla: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(smolvla, tmp_path / "smolvla"))
    moved = Path(shutil.copytree(smolvla.parent / "vlm", tmp_path / "moved"))
    for name in ("config.json", "policy_preprocessor.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(str(smolvla.parent / "vlm"), "/nowhere/vlm"))
    observation = observation_for(loaded(smolvla).info)

    with pytest.raises(PolicyLoadError, match="cannot be loaded"):
        loaded(folder)
    found = loaded(folder, vlm=str(moved)).infer([observation])[0].actions

    np.testing.assert_array_equal(found, loaded(smolvla).infer([observation])[0].actions)


def test_pi0_is_refused_before_it_is_built_where_it_cannot_run(act: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(act, tmp_path / "pi0"))
    change(folder / "config.json", {"type": "pi0"})

    with pytest.raises(PolicyLoadError, match="its own build of transformers"):
        loaded(folder)


def test_another_seed_is_other_noise(diffusion: Path) -> None:
    one, other = loaded(diffusion), loaded(diffusion, seed="7")
    observation = observation_for(one.info)

    assert np.abs(one.infer([observation])[0].actions - other.infer([observation])[0].actions).max() > 1e-3


def test_the_collections_horizon_takes_the_first_steps(act: Path) -> None:
    whole, short = loaded(act), loaded(act, horizon=5, action_names="x,y,z,grip", state_size=7, cameras="a,b,c")
    observation = observation_for(whole.info)

    assert (whole.info.horizon, short.info.horizon) == (12, 5)
    assert short.info.action_names == ("x", "y", "z", "grip")
    assert short.info.cameras == tiny_policies.CAMERAS
    np.testing.assert_allclose(short.infer([observation])[0].actions, whole.infer([observation])[0].actions[:5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"action_names": "x,y"}, "4 dimensions and the collection's action space has 2"),
        ({"state_size": 6}, "state has 7 numbers and the collection's 6"),
        ({"cameras": "only"}, r"2 cameras \(top, wrist\) and the collection 1"),
        ({"sha256": "0" * 64}, "does not have the SHA-256"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said_at_load(act: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message):
        loaded(act, **options)


def test_a_checkpoint_without_one_of_its_weights_is_refused(act: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(act, tmp_path / "act"))
    weights = load_file(folder / "model.safetensors")
    del weights["model.action_head.weight"]
    save_file(weights, folder / "model.safetensors")

    with pytest.raises(PolicyLoadError, match=r"cannot be loaded: .*ACTPolicy"):
        loaded(folder)
    assert checkpoint_folder.digest(folder) != checkpoint_folder.digest(act)


def test_weights_that_lerobot_silently_left_random_are_noticed(act: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_policies.ACTPolicy, "_load_as_safetensor", lambda model, *_: model)

    with pytest.raises(PolicyLoadError, match="did not take over the checkpoint's weights"):
        loaded(act)
