"""The web process and the import of every task stay light: heavy libraries load in the worker that uses them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "torchvision", "transformers", "sentence_transformers", "sklearn", "lerobot"),
    *("easyocr", "rapidocr", "onnxruntime", "cv2", "av", "pandera"),
    *("presidio_analyzer", "spacy", "pybullet", "panda_gym"),
)
TASKS = "from vla_project.celery import app; app.loader.import_default_modules()"


@pytest.mark.parametrize(
    "program",
    [
        "import vla_project.asgi, vla_project.urls",
        TASKS,
        "from django.core.management import execute_from_command_line as run; run(['manage.py', 'help'])",
    ],
    ids=["web", "tasks", "manage.py"],
)
def test_nothing_heavy_is_imported(program: str) -> None:
    report = f"{program}\nimport sys; print(); print([name for name in {HEAVY!r} if name in sys.modules])"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "vla_project.settings.test"}
    result = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_every_apps_tasks_are_known_to_celery() -> None:
    report = f"{TASKS}\nprint(*sorted({{name.split('.')[0] for name in app.tasks}}))"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "vla_project.settings.test"}
    result = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    assert {"pipeline", "feedback"} <= set(result.stdout.split())
