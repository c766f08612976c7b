"""What a LeRobot checkpoint says of itself is looked at before LeRobot, or anything in it, is loaded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from inference.exceptions import PolicyConfigurationError, PolicyLoadError
from inference.policies.handler import create_policy
from inference.policies.lerobot.checkpoint import Described

CONFIG: dict[str, Any] = {
    "type": "act",
    "input_features": {
        "observation.state": {"type": "STATE", "shape": [7]},
        "observation.images.top": {"type": "VISUAL", "shape": [3, 48, 64]},
        "observation.images.empty_camera_0": {"type": "VISUAL", "shape": [3, 480, 640]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [4]}},
}
STEPS: list[dict[str, Any]] = [
    {"registry_name": "device_processor", "config": {"device": "cuda"}},
    {"registry_name": "normalizer_processor", "config": {}, "state_file": "normalizer.safetensors"},
]


def written(folder: Path, *, config: dict[str, Any] | None = None, steps: list[dict[str, Any]] | None = None) -> Path:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (folder / "model.safetensors").touch()
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        (folder / name).write_text(json.dumps({"steps": STEPS if steps is None else steps}))
    return folder


def test_shape_cameras_and_processors_are_read(tmp_path: Path) -> None:
    described = Described.read(written(tmp_path))

    assert described.cameras == {"top": (48, 64)}
    assert (described.state_size, described.dimensions) == (7, 4)
    assert described.steps == {"device_processor", "normalizer_processor"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {"type": "groot"}}, "'groot' is not served; known are act, diffusion, smolvla, pi0"),
        ({"config": {"input_features": {}}}, "sees no camera"),
        ({"config": {"input_features": {"observation.environment_state": {"shape": [3]}}}}, "no robot of a collection"),
        ({"config": {"input_features": {"observation.state": 7}}}, "are not understood"),
        ({"steps": [{"class": "subprocess.Popen", "config": {"args": ["true"]}}]}, r"names Python to run \(subprocess"),
        ({"steps": [{**STEPS[1], "state_file": "../other.safetensors"}]}, "no safetensors file beside it"),
        ({"steps": [{**STEPS[1], "state_file": "statistics.pkl"}]}, "no safetensors file beside it"),
    ],
    ids=str,
)
def test_what_is_not_understood_or_not_allowed_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PolicyLoadError, match=message):
        Described.read(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("file", "message"),
    [("model.safetensors", "holds no model.safetensors"), ("policy_preprocessor.json", "LeRobot before 0.4")],
)
def test_a_missing_file_is_named(tmp_path: Path, file: str, message: str) -> None:
    (written(tmp_path) / file).unlink()

    with pytest.raises(PolicyLoadError, match=message):
        Described.read(tmp_path)


@pytest.mark.ml
@pytest.mark.skipif(importlib.util.find_spec("lerobot") is not None, reason="LeRobot is installed")
def test_without_lerobot_the_refusal_says_how_to_install_it(tmp_path: Path) -> None:
    policy = create_policy("lerobot", {"checkpoint": str(written(tmp_path)), "device": "cpu"})

    with pytest.raises(PolicyLoadError, match=r"needs LeRobot.*requirements/lerobot\.txt"):
        policy.load()


def test_a_checkpoint_must_be_named() -> None:
    with pytest.raises(PolicyConfigurationError, match="needs 'checkpoint'"):
        create_policy("lerobot", {})
