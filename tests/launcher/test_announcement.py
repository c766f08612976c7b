from __future__ import annotations

import json
from pathlib import Path

from vla_project.launcher.announcement import announcement

DEMO = {
    "base_url": "http://127.0.0.1:8000",
    "api_key": "vla_key_secret",
    "collection": "demo",
    "admin": {"username": "admin", "password": "p1"},
    "annotator": {"username": "annotator", "password": "p2"},
    "viewer": {"username": "viewer", "password": "p3"},
    "curl": "curl http://127.0.0.1:8000/api/v1/inference …",
}


def test_it_names_the_address_every_account_and_a_request_to_try(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text(json.dumps(DEMO))

    text = announcement("http://127.0.0.1:8000", tmp_path / "demo.json", seconds=9.94)

    assert "Ready in 9.9 s: http://127.0.0.1:8000" in text
    for shown in ("admin / p1", "annotator / p2", "viewer / p3", "vla_key_secret", "/live/demo/"):
        assert shown in text
    assert DEMO["curl"] in text.splitlines()


def test_without_demo_content_it_names_the_address_alone(tmp_path: Path) -> None:
    text = announcement("http://127.0.0.1:9000", tmp_path / "demo.json", seconds=1)

    assert [line for line in text.splitlines() if line] == [
        "Ready in 1.0 s: http://127.0.0.1:9000   (Ctrl-C stops everything)"
    ]
