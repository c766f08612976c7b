"""Folders that a service's own user can enter, and launchers that never outlive their test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vla_project.launcher import EmbeddedPostgres
from vla_project.launcher.ports import free_port

PROJECT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def var_dir() -> Iterator[Path]:
    # Not tmp_path, whose parents are closed to `nobody` when the tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="launcher-", dir=Path(os.environ["VAR_DIR"])))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class Launched:
    """A program that holds `launcher.lock`, its output so far, and the means to end it."""

    def __init__(self, argv: list[str], output: Path, environment: dict[str, str]) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                argv, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=PROJECT, env=environment
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = 30.0) -> str:
        """What was written up to the first appearance of ``text``."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, seconds)
        assert text in self.output, self.output
        return self.output[: self.output.index(text)]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def status(self, seconds: float = 30.0) -> int:
        return self.process.wait(seconds)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def new_cluster() -> Path:
    """A PostgreSQL folder as the launcher makes it, to be copied: making one takes longer than everything else."""
    folder = Path(os.environ["VAR_DIR"]) / "new-cluster"
    EmbeddedPostgres(folder, port=free_port(), settings={"fsync": "off"}).prepare()
    return folder


@pytest.fixture
def ready_postgres(var_dir: Path, new_cluster: Path) -> Path:
    """``var_dir / "postgres"`` holding a new cluster."""
    subprocess.run(["cp", "-a", new_cluster, var_dir / "postgres"], check=True)  # keeps the owner, unlike copytree
    return var_dir / "postgres"


@pytest.fixture
def launch(var_dir: Path) -> Iterator[Callable[..., Launched]]:
    """Start ``python *arguments`` with ``var_dir`` and embedded services; killed at the end of the test."""
    launched: list[Launched] = []

    def start(*arguments: str, **variables: str) -> Launched:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment = {**inherited, "VAR_DIR": str(var_dir), "PORT": str(free_port()), **variables}
        one = Launched([sys.executable, *arguments], var_dir / f"output-{len(launched)}.txt", environment)
        launched.append(one)
        return one

    yield start
    for one in launched:
        if one.process.poll() is None:
            one.process.terminate()
            try:
                one.process.wait(20)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
