"""Every variable that the settings read is explained in docs/settings.md."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent


def test_every_variable_that_the_settings_read_is_documented() -> None:
    read = set()
    for module in (PROJECT / "vla_project" / "settings").glob("*.py"):
        read |= set(re.findall(r'env\.\w+\(\s*"([A-Z0-9_]+)"', module.read_text()))
    documented = set(re.findall(r"`([A-Z0-9_]+)`", (PROJECT / "docs" / "settings.md").read_text()))

    assert read
    assert read - documented == set()
