"""Pytest plug-in: which tests share a worker of pytest-xdist, and which come first.

A module's tests stay together, so that what it starts once (a browser, a model) is started once. All end-to-end tests
stay together and come first: they share one running system, and nothing else takes as long. The other long ones follow:
the workers then end together, where one would otherwise wait while the other walks a matrix.
xdist's own ``loadgroup`` tells groups by a suffix of the test's id, which pytest 9.2 does not keep.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.scheduler.protocol import Scheduling

SYSTEM = "tests/e2e/"
LONGEST_FIRST = (
    SYSTEM + "test_whole_system.py",  # with its robot, which then rests
    SYSTEM,
    "tests/pages/test_every_page_in_a_browser.py",
    "tests/security/",
    "tests/feedback/browser/",
    "tests/pipeline/test_interruption.py",
    "",
)


class ModuleScheduling(LoadScopeScheduling):
    """One module at a time, the end-to-end tests as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        return SYSTEM if nodeid.startswith(SYSTEM) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    config.option.loadscopereorder = False  # it would begin with the modules of many small tests
    return ModuleScheduling(config, log)  # type: ignore[arg-type]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next(place for place, part in enumerate(LONGEST_FIRST) if item.nodeid.startswith(part)))
