"""The files under requirements/ say what pyproject.toml says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "requirements" / "export.py"


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's functions, working on a project of their own."""
    (tmp_path / "requirements").mkdir()
    copy = tmp_path / "requirements" / "export.py"
    copy.write_text(SCRIPT.read_text())
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["redis>=8"]\n[project.optional-dependencies]\ndev = ["Factory_Boy==3.3.3"]\n'
    )
    return runpy.run_path(str(copy))


def test_an_export_pins_what_is_needed_indirectly_and_agrees_with_the_project(
    export: dict[str, Any], tmp_path: Path
) -> None:
    export["export"]()

    dev = (tmp_path / "requirements" / "dev.txt").read_text().splitlines()
    assert dev[1] == "-r base.txt"
    assert "factory-boy==3.3.3" in dev
    assert any(line.startswith("faker==") for line in dev)
    assert export["disagreements"]() == []


@pytest.mark.parametrize(
    ("pinned", "complaint"), [("redis==7.4.0", "redis>=8 is wanted, 7.4.0 is pinned"), ("", "nothing is pinned")]
)
def test_a_pin_that_is_old_or_missing_is_named(
    export: dict[str, Any], tmp_path: Path, pinned: str, complaint: str
) -> None:
    export["export"]()
    (tmp_path / "requirements" / "base.txt").write_text(pinned + "\n")

    assert [complaint in line for line in export["disagreements"]()] == [True]
