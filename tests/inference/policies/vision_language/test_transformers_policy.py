"""Vision-language models as policies, on tiny models of real architectures with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.exceptions import PolicyConfigurationError, PolicyLoadError
from inference.policies import checkpoint_folder
from inference.policies.base import Observation, Policy
from inference.policies.handler import create_policy
from inference.policies.vision_language.action_tokens import ActionStatistics, ActionTokens
from inference.policies.vision_language.vision_transformer import VisionTransformer
from tests.inference.policies import tiny_checkpoints
from tests.inference.policies.observations import observation_for
from tests.inference.policies.tiny_checkpoints import LlamaConfig, LlamaForCausalLM

pytestmark = pytest.mark.ml

INSTRUCTIONS = ("pick up the red cube", "Cube", "take the object up to the robot", "pick")


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoints.write_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def openvla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoints.write_openvla(tmp_path_factory.mktemp("models") / "openvla")


@pytest.fixture
def copied(tmp_path: Path, llava: Path) -> Path:
    """A LLaVA checkpoint to be damaged."""
    return Path(shutil.copytree(llava, tmp_path / "llava"))


def loaded(folder: Path, **options: Any) -> Policy:
    policy = create_policy("transformers", {"checkpoint": str(folder), "device": "cpu", **options})
    policy.load()
    return policy


def observations(policy: Policy) -> list[Observation]:
    return [observation_for(policy.info, seed=seed, instruction=text) for seed, text in enumerate(INSTRUCTIONS)]


@pytest.mark.parametrize("architecture", ["llava", "openvla"])
def test_prompts_of_different_lengths_in_one_batch_are_answered_as_alone(
    architecture: str, request: pytest.FixtureRequest
) -> None:
    policy = loaded(request.getfixturevalue(architecture), steps=3, horizon=2)

    together = policy.infer(observations(policy))

    for observation, chunk in zip(observations(policy), together, strict=True):
        alone = policy.infer([observation])[0]
        np.testing.assert_array_equal(chunk.actions, alone.actions)
        assert chunk.confidence == pytest.approx(alone.confidence, rel=1e-4)
        assert 0 < (chunk.confidence or 0) < 1
    assert policy.info.horizon == 2
    assert len({chunk.actions.tobytes() for chunk in together}) == len(together)


def test_openvla_says_what_its_parts_say_when_put_together_by_hand(openvla: Path) -> None:
    """The reference: no cache, no padding, one word at a time, each part called by itself."""
    policy = loaded(openvla)
    observation = observation_for(policy.info, instruction="Pick up the RED cube")
    weights = load_file(openvla / "model.safetensors")

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}

    config = json.loads((openvla / "config.json").read_text())["text_config"]
    language = LlamaForCausalLM(LlamaConfig(**config)).eval()
    language.load_state_dict(part("language_model."))
    projector = part("projector.")
    picture = torch.from_numpy(observation.images["image_0"]).permute(2, 0, 1)[None].float() / 255
    imagenet = [
        torch.tensor(values).view(1, 3, 1, 1)
        for values in ([0.484375, 0.455078125, 0.40625], [0.228515625, 0.2236328125, 0.224609375])
    ]
    eyes = (
        ("vision_backbone.featurizer.", (picture - imagenet[0]) / imagenet[1]),
        ("vision_backbone.fused_featurizer.", (picture - 0.5) / 0.5),
    )
    with torch.no_grad():
        words = torch.cat([VisionTransformer.of(part(prefix), heads=16)(seen) for prefix, seen in eyes], dim=2)
        for layer in ("fc1", "fc2", "fc3"):
            words = words if layer == "fc1" else torch.nn.functional.gelu(words)
            words = words @ projector[f"{layer}.weight"].T + projector[f"{layer}.bias"]
        known = json.loads((openvla / "tokenizer.json").read_text())["model"]["vocab"]
        prompt = "In: What action should the robot take to pick up the red cube?\nOut:"
        ids = [1, *(known.get(word, known["<unk>"]) for word in prompt.split()), known["▁"]]
        said: list[int] = []
        for _ in range(4):
            embedded = language.get_input_embeddings()(torch.tensor([ids + said]))
            logits = language(inputs_embeds=torch.cat([embedded[:, :1], words, embedded[:, 1:]], dim=1)).logits[0, -1]
            said.append(64 + int(logits[64:320].argmax()))
    statistics = ActionStatistics.choose(tiny_checkpoints.STATISTICS, "kitchen")
    expected = statistics.in_units(ActionTokens(320).normalised(np.array([said])))

    np.testing.assert_allclose(policy.infer([observation])[0].actions, expected, atol=1e-6)


def test_several_cameras_are_seen_by_a_model_of_several_images(llava: Path) -> None:
    policy = loaded(llava, images=2, cameras="base,wrist,side")
    seen = observation_for(policy.info)
    other = Observation({**seen.images, "wrist": 255 - seen.images["wrist"]}, seen.state, seen.instruction)

    one, two = policy.infer([seen, other])

    assert policy.info.cameras == ("base", "wrist")
    assert one.confidence != two.confidence


def test_a_model_that_does_not_see_is_not_served(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    blind = {n: torch.zeros_like(w) if "multi_modal_projector" in n else w for n, w in weights.items()}
    save_file(blind, copied / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(PolicyLoadError, match="does not see: it answers a black image and a white one alike"):
        loaded(copied)


def test_weights_that_are_missing_are_not_made_up(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    del weights["language_model.model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(PolicyLoadError, match=r"lacks weights, such as .*layers\.1\.mlp\.up_proj"):
        loaded(copied)


def test_openvla_without_one_of_its_weights_is_refused(openvla: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(openvla, tmp_path / "openvla"))
    weights = load_file(folder / "model.safetensors")
    del weights["language_model.model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors")

    with pytest.raises(PolicyLoadError, match="lacks weights"):
        loaded(folder)


def test_the_sha256_of_the_folder_is_checked_and_reported(copied: Path) -> None:
    found = checkpoint_folder.digest(copied)

    assert loaded(copied, sha256=found.upper()).info.metadata["sha256"] == found
    tiny_checkpoints.change(copied / "config.json", {"norm_stats": {"other": tiny_checkpoints.STATISTICS["kitchen"]}})
    with pytest.raises(PolicyLoadError, match="does not have the SHA-256"):
        loaded(copied, sha256=found)


def test_pickled_weights_are_not_read(copied: Path) -> None:
    torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()

    with pytest.raises(PolicyLoadError, match="holds no safetensors file"):
        loaded(copied)


def test_statistics_may_lie_beside_the_configuration(copied: Path) -> None:
    tiny_checkpoints.change(copied / "config.json", {"norm_stats": None})
    (copied / "dataset_statistics.json").write_text(json.dumps(tiny_checkpoints.STATISTICS))

    assert len(loaded(copied).info.action_names) == 4


def test_an_action_space_of_another_size_is_refused_by_both_sizes(llava: Path) -> None:
    with pytest.raises(PolicyLoadError, match="have 4 dimensions and the collection's action space has 2: x, y"):
        loaded(llava, action_names="x,y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs 'checkpoint'"),
        ({"checkpoint": "x", "prompt": "Go!"}, "{instruction}"),
        ({"checkpoint": "x", "images": 3, "cameras": "a,b"}, "cameras are fewer"),
        ({"checkpoint": "x", "trust_remote_code": "true"}, "'trust_remote_code' is a SHA-256"),
        ({"checkpoint": "x", "sha256": "abc"}, "'sha256' is a SHA-256"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyConfigurationError, match=message):
        create_policy("transformers", options)
