"""Alive and ready are two questions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from core import health

Client = Callable[..., APIClient]


@pytest.fixture(autouse=True)
def checks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], str]]:
    """Checks of the test's own."""
    made: dict[str, Callable[[], str]] = {"database": str, "redis": str}
    monkeypatch.setattr(health, "_checks", made)
    return made


def test_it_is_ready_when_every_dependency_answers(api: Client) -> None:
    response = api().get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": {"database": "ok", "redis": "ok"}}


def test_what_is_missing_is_named_and_its_cause_is_not(api: Client, checks: dict[str, Callable[[], str]]) -> None:
    def broken() -> str:
        raise ConnectionError("postgres://user:password@10.0.0.1")

    checks["redis"] = broken
    checks["policy"] = lambda: "no inference worker has loaded a policy"
    response = api().get("/readyz")
    assert (response.status_code, response["Retry-After"]) == (503, "2")
    assert response.json() == {
        "status": "not ready",
        "checks": {
            "database": "ok",
            "redis": "does not answer",
            "policy": "no inference worker has loaded a policy",
        },
    }


def test_it_is_alive_whatever_its_dependencies_do(api: Client, checks: dict[str, Callable[[], str]]) -> None:
    checks["database"] = lambda: "away"
    response = api().get("/healthz")
    assert (response.status_code, response.content) == (200, b"OK\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_they_are_only_read(api: Client, path: str) -> None:
    assert api().post(path).status_code == 405
