from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from tests.launcher.conftest import wait_until
from vla_project.launcher.exceptions import LauncherError
from vla_project.launcher.var_dir import launcher_pid, locked


@pytest.fixture
def dead_pid() -> int:
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def leave_behind(folder: Path, launcher: int) -> subprocess.Popen[bytes]:
    """A process that still holds the lock of a launcher with that number, as a child of a killed one does."""
    with (folder / "launcher.lock").open("w") as file:
        file.write(f"{launcher}\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        return subprocess.Popen(["sleep", "600"], pass_fds=(file.fileno(),))


def test_only_the_holder_is_named_as_the_running_launcher(tmp_path: Path) -> None:
    assert launcher_pid(tmp_path) is None
    with locked(tmp_path):
        assert launcher_pid(tmp_path) is not None
    assert launcher_pid(tmp_path) is None


def test_what_a_killed_launcher_left_running_is_ended_when_it_takes_too_long(
    tmp_path: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vla_project.launcher.var_dir.LEFTOVER_SECONDS", 0.0)
    leftover = leave_behind(tmp_path, dead_pid)

    with locked(tmp_path):
        wait_until(lambda: leftover.poll() is not None)

    assert leftover.returncode == -9


def test_leftovers_that_cannot_be_found_are_left_to_the_user(
    tmp_path: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vla_project.launcher.var_dir.LEFTOVER_SECONDS", 0.0)
    monkeypatch.setattr("vla_project.launcher.var_dir._holders", lambda path: [])
    leftover = leave_behind(tmp_path, dead_pid)
    try:
        with pytest.raises(LauncherError, match="Processes of an earlier run"), locked(tmp_path):
            pass
    finally:
        leftover.kill()
        leftover.wait()
