"""A checkpoint that brings Python along, and what it takes for that Python to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.exceptions import PolicyLoadError
from inference.policies import checkpoint_folder
from inference.policies.handler import create_policy
from tests.inference.policies import tiny_checkpoints
from tests.inference.policies.observations import observation_for

pytestmark = pytest.mark.ml

CODE = """
from pathlib import Path
from transformers import LlavaConfig, LlavaForConditionalGeneration

Path({mark!r}).touch()


class OwnConfig(LlavaConfig):
    model_type = "of_its_own"


class OwnModel(LlavaForConditionalGeneration):
    config_class = OwnConfig

    def generate(self, **inputs):
        assert len(inputs["input_ids"]) == 1, "this model answers one observation at a time"
        return super().generate(**inputs)
"""


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """Exists once the checkpoint's code has run."""
    return tmp_path / "ran"


@pytest.fixture
def checkpoint(tmp_path: Path, ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tiny_checkpoints.write_llava(
        tmp_path / "own",
        model_type="of_its_own",
        architectures=["OwnModel"],
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForImageTextToText": "own.OwnModel"},
    )
    (folder / "own.py").write_text(CODE.format(mark=str(ran)))
    return folder


def test_code_does_not_run_unasked_and_the_refusal_says_what_allows_it(checkpoint: Path, ran: Path) -> None:
    policy = create_policy("transformers", {"checkpoint": str(checkpoint), "device": "cpu"})

    with pytest.raises(PolicyLoadError, match=f"trust_remote_code={checkpoint_folder.digest(checkpoint)}"):
        policy.load()

    assert not ran.exists()


def test_code_that_was_allowed_runs_one_observation_at_a_time(checkpoint: Path, ran: Path) -> None:
    allowed = checkpoint_folder.digest(checkpoint)
    policy = create_policy(
        "transformers", {"checkpoint": str(checkpoint), "device": "cpu", "trust_remote_code": allowed}
    )

    policy.load()
    chunks = policy.infer([observation_for(policy.info, seed=seed) for seed in range(2)])

    assert ran.exists()
    assert chunks[0].actions.tobytes() != chunks[1].actions.tobytes()


def test_code_that_changed_since_it_was_allowed_does_not_run(checkpoint: Path, ran: Path) -> None:
    allowed = checkpoint_folder.digest(checkpoint)
    with (checkpoint / "own.py").open("a") as file:
        file.write("# and one line more\n")
    policy = create_policy("transformers", {"checkpoint": str(checkpoint), "trust_remote_code": allowed})

    with pytest.raises(PolicyLoadError, match="allows another checkpoint"):
        policy.load()

    assert not ran.exists()


def test_code_of_another_repository_never_runs(checkpoint: Path, ran: Path) -> None:
    tiny_checkpoints.change(checkpoint / "config.json", {"auto_map": {"AutoConfig": "somebody/else--own.OwnConfig"}})
    allowed = checkpoint_folder.digest(checkpoint)
    policy = create_policy("transformers", {"checkpoint": str(checkpoint), "trust_remote_code": allowed})

    with pytest.raises(PolicyLoadError, match="lies in another repository"):
        policy.load()

    assert not ran.exists()
