"""The published openpi-client against the processes that ``make run`` starts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import ROOT, RunningSystem
from vla_project.launcher.ports import free_port

PYTHON = ROOT / "var" / "peers" / "openpi" / "bin" / "python"
CHECK = ROOT / "tests" / "peers" / "openpi_client_check.py"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no openpi-client: see {CHECK.relative_to(ROOT)}"),
]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[RunningSystem]:
    running = RunningSystem(tmp_path / "var", free_port())
    running.start()
    yield running
    running.stop()


def test_the_unmodified_client_drives_a_robot(system: RunningSystem) -> None:
    url = f"ws://127.0.0.1:{system.port}/ws/policy/{system.demo['collection']}"
    seen = subprocess.run(
        [PYTHON, CHECK, url, system.demo["api_key"]], capture_output=True, text=True, timeout=60, check=False
    )
    assert seen.returncode == 0, seen.stderr
    assert "steps through its broker" in seen.stdout
