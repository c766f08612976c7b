from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from inference.demo_robot import robot
from tests.inference.demo_robot.api import Answer, FakeApi


def test_without_arguments_it_drives_the_robot_of_demo_json(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robot, "MAX_STEPS_PER_EPISODE", 8)
    settings.VAR_DIR = tmp_path
    out = StringIO()
    with FakeApi(lambda observation: [[0.0, 0.0, 0.0, 0.08]] * 8) as api:
        (tmp_path / "demo.json").write_text(
            json.dumps({"base_url": api.url, "api_key": "from.file", "collection": "demo"})
        )

        call_command("demo_robot", "--episodes=1", "--rate=1000", "--robot=arm-08", stdout=out)

    assert {request.authorization for request in api.requests} == {"Api-Key from.file"}
    assert {observation["robot"] for observation in api.observations} == {"arm-08"}
    assert "failure after 8 steps (0 of 1)" in out.getvalue()


def test_arguments_come_before_demo_json(settings: Settings, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path
    (tmp_path / "demo.json").write_text(
        json.dumps({"base_url": "http://127.0.0.1:9", "api_key": "from.file", "collection": "demo"})
    )
    with FakeApi(lambda observation: []) as api:
        api.instead.append(Answer(401, {"detail": "No such key."}))
        with pytest.raises(CommandError, match=r"401: No such key\."):
            call_command("demo_robot", "--url", api.url, "--collection=other", "--episodes=1", "--rate=1000")

    assert [(o["collection"]) for o in api.observations] == ["other"]


def test_without_a_running_demo_it_says_what_to_give(settings: Settings, tmp_path: Path) -> None:
    settings.VAR_DIR = tmp_path

    with pytest.raises(CommandError, match="--url, --api-key and --collection"):
        call_command("demo_robot", "--url=http://127.0.0.1:9")
