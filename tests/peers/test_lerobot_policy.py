"""The lerobot backend against the published LeRobot, where the project's own environment has none.

The environment of ``lerobot_check.py`` does; or, for this alone::

    python -m venv var/peers/lerobot
    var/peers/lerobot/bin/pip install --no-deps -r requirements/lerobot.txt
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sysconfig

import pytest

from tests.e2e.system import ROOT

PYTHON = ROOT / "var" / "peers" / "lerobot" / "bin" / "python"
TESTS = ("tests/inference/policies/test_contract.py", "tests/inference/policies/lerobot")

pytestmark = [
    pytest.mark.ml,
    pytest.mark.skipif(not PYTHON.exists(), reason="no lerobot: see requirements/lerobot.txt"),
    pytest.mark.skipif(importlib.util.find_spec("lerobot") is not None, reason="the tests themselves have lerobot"),
]


def test_the_contract_and_the_backends_own_tests_hold_with_the_real_lerobot() -> None:
    seen = subprocess.run(
        [PYTHON, "-m", "pytest", *TESTS, "-k", "lerobot", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        # The project's packages first: only what it lacks comes from the environment of LeRobot.
        env={**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"], "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert seen.returncode == 0, seen.stdout[-3000:] + seen.stderr[-2000:]
    counted = re.search(r"(\d+) passed", seen.stdout)
    assert counted, seen.stdout[-1000:]
    assert int(counted.group(1)) >= 30
    assert "no lerobot" not in seen.stdout
