from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.chromium import open_chromium
from tests.e2e.system import BEAT, PIPELINE, ROBOT, RunningSystem
from vla_project.launcher.ports import free_port


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """The whole system with its demo robot, started once and ended before other tests need the processor."""
    folder = tmp_path_factory.mktemp("system")
    folder.chmod(0o755)
    running = RunningSystem(folder / "var", free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def nothing_but_answers(system: RunningSystem) -> Iterator[None]:
    """The demo robot, the pipeline and the clock rest: robots are answered and recorded without them."""
    with system.resting(ROBOT, PIPELINE, BEAT):
        yield


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser
