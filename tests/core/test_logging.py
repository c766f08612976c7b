"""Secrets reach no log."""

from __future__ import annotations

from typing import Any

import pytest

from core.logging import redact

TOKEN = "vla_Ab12Cd34_" + "x" * 43


@pytest.mark.parametrize(
    "event",
    [
        {"password": "hunter2"},
        {"new_password": "hunter2"},
        {"Authorization": "Bearer hunter2"},
        {"headers": {"authorization": "hunter2", "host": "here"}},
        {"requests": [{"api_key": "hunter2"}]},
        {"event": f"refused {TOKEN} of a robot"},
        {"detail": ["tried", {"with": f"Api-Key {TOKEN}"}]},
    ],
)
def test_secrets_are_blanked_wherever_they_stand(event: dict[str, Any]) -> None:
    told = str(redact(None, "info", event))
    assert "hunter2" not in told
    assert TOKEN not in told
    assert "redacted" in told


def test_everything_else_is_left_as_it_is() -> None:
    event = {"event": "policy.loaded", "seconds": 1.5, "items": [1, "two"], "collection": {"slug": "demo"}}
    assert redact(None, "info", dict(event)) == event
