"""Where a checkpoint comes from and what it is known by."""

from __future__ import annotations

import subprocess
from pathlib import Path

import huggingface_hub
import pytest

from inference.exceptions import PolicyLoadError
from inference.policies import checkpoint_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / ".cache").mkdir()
    for name, content in (
        ("model.safetensors", "weights"),
        ("Zeta.json", "{}"),
        ("code/own.py", "pass"),
        ("eta é.txt", "words"),
        (".cache/lock", "1"),
        (".gitattributes", "x"),
    ):
        (folder / name).write_text(content)
    return folder


def test_the_digest_is_what_the_shell_command_in_its_description_prints(folder: Path) -> None:
    described = checkpoint_folder.digest.__doc__ or ""
    command = next(line for line in described.splitlines() if line.strip().startswith("find"))

    printed = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout

    assert printed.split()[0] == checkpoint_folder.digest(folder)


def test_any_change_of_any_file_is_another_checkpoint(folder: Path) -> None:
    before = checkpoint_folder.digest(folder)

    (folder / "code" / "own.py").rename(folder / "code" / "other.py")

    assert checkpoint_folder.digest(folder) != before


def test_a_name_on_the_hub_is_fetched_without_pickled_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def snapshot_download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)

    assert checkpoint_folder.resolve("lab/grasp", revision="v2") == folder
    assert (asked["name"], asked["revision"]) == ("lab/grasp", "v2")
    assert {"*.safetensors", "*.json"} <= set(asked["allow_patterns"])
    assert not {"*.bin", "*.pt", "*.pth", "*.pkl"} & set(asked["allow_patterns"])


def test_a_name_that_the_hub_cannot_give_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(PolicyLoadError, match="'lab/absent' is neither a folder nor to be had from the hub"):
        checkpoint_folder.resolve("lab/absent")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "nowhere", "../a/b/c"])
def test_a_path_that_leads_nowhere_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(PolicyLoadError, match="There is no folder"):
        checkpoint_folder.resolve(name)


def test_json_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")

    with pytest.raises(PolicyLoadError, match=r"'config\.json' of the checkpoint is not JSON"):
        checkpoint_folder.read_json(tmp_path / "config.json")
