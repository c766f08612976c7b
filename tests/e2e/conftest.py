from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.system import RunningSystem
from vla_project.launcher.ports import free_port

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """The whole system with its demo robot, started once."""
    folder = tmp_path_factory.mktemp("system")
    folder.chmod(0o755)
    running = RunningSystem(folder / "var", free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture
def chromium() -> Iterator[Browser]:
    executable = next((p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(p).exists()), None)
    options: dict[str, Any] = {"executable_path": executable} if executable else {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(args=CHROMIUM_FLAGS, **options)
        yield browser
        browser.close()
