"""The web process validates options and knows the interface; it must not pay for torch, nor the batcher for Django."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "lerobot", "huggingface_hub", "django", "pybullet", "panda_gym", "PIL", "cv2")


@pytest.mark.parametrize(
    "program",
    [
        "import inference.policies.base, inference.policies.handler",
        "from inference.policies.handler import create_policy; create_policy('simulated', {}).load()",
        "from inference.policies.handler import create_policy; create_policy('compact', {})",
        "from inference.policies.handler import create_policy; create_policy('transformers', {'checkpoint': 'a/b'})",
        "from inference.policies.handler import create_policy; create_policy('lerobot', {'checkpoint': 'a/b'})",
        "import inference.demo_robot.description",
    ],
)
def test_nothing_heavy_is_imported_before_a_policy_is_loaded(program: str) -> None:
    report = f"{program}\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, timeout=60, check=True)

    assert result.stdout.strip() == "[]"
