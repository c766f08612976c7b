from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inference.exceptions import PolicyConfigurationError, PolicyLoadError
from inference.policies.compact.checkpoint import SHIPPED, read_checkpoint, write_checkpoint
from inference.policies.handler import create_policy

pytestmark = pytest.mark.ml


def test_the_shipped_checkpoint_is_small() -> None:
    assert SHIPPED.stat().st_size < 3_000_000


def test_a_written_checkpoint_reads_back_the_same(tmp_path: Path) -> None:
    network, normalisation = read_checkpoint(SHIPPED)
    path = tmp_path / "copy.safetensors"

    digest = write_checkpoint(path, network, normalisation)
    read_network, read_normalisation = read_checkpoint(path, sha256=digest)

    assert read_network.config == network.config
    assert (read_normalisation.action_mean == normalisation.action_mean).all()
    for one, other in zip(network.state_dict().values(), read_network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_right_sha256_is_accepted_in_any_case() -> None:
    digest = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()

    create_policy("compact", {"sha256": digest.upper(), "device": "cpu"}).load()


def test_another_sha256_is_refused() -> None:
    with pytest.raises(PolicyLoadError, match="SHA-256"):
        create_policy("compact", {"sha256": "0" * 64}).load()


def test_an_absent_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyLoadError, match="no checkpoint"):
        create_policy("compact", {"checkpoint": str(tmp_path / "absent.safetensors")}).load()


@pytest.mark.parametrize("size", [0, 6, 5000])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(SHIPPED.read_bytes()[:size])

    with pytest.raises(PolicyLoadError, match="damaged"):
        create_policy("compact", {"checkpoint": str(path)}).load()


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)

    with pytest.raises(PolicyLoadError, match="format"):
        create_policy("compact", {"checkpoint": str(path)}).load()


@pytest.mark.parametrize("options", [{"device": "tpu"}, {"checkpoint": 3}, {"sha256": True}], ids=str)
def test_a_wrong_option_is_refused_by_name(options: dict[str, object]) -> None:
    with pytest.raises(PolicyConfigurationError, match=next(iter(options))):
        create_policy("compact", options)


def test_a_policy_that_is_not_loaded_says_so() -> None:
    policy = create_policy("compact", {})

    with pytest.raises(PolicyLoadError, match="not loaded"):
        policy.infer([])
