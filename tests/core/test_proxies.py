"""Behind proxies it is the client's own address that counts, and nobody chooses theirs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.proxies import TrustedProxies


def passed_on(peer: str, forwarded: str = "", proto: str = "https") -> dict[str, Any]:
    """The scope that the application gets of a request from ``peer``."""
    headers = [(b"x-forwarded-proto", proto.encode())]
    headers += [(b"x-forwarded-for", line.encode()) for line in forwarded.split("|") if line]
    seen: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        seen.append(scope)

    scope = {"type": "http", "client": (peer, 4711), "headers": headers}
    asyncio.run(TrustedProxies(application)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


@pytest.fixture(autouse=True)
def _proxies(settings: Any) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.0/8", "fd00::/8"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),  # what stands in front the client wrote itself
        ("10.0.0.1", "203.0.113.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),  # two proxies
        ("10.0.0.1", "203.0.113.9|192.0.2.7", "192.0.2.7"),  # two headers
        ("10.0.0.1", "192.0.2.7:5000", "192.0.2.7"),
        ("fd00::1", "[2001:db8::7]:5000", "2001:db8::7"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("192.0.2.7", "10.0.0.1, 127.0.0.1", "192.0.2.7"),  # not through a proxy of ours
    ],
)
def test_the_client_is_the_last_who_is_no_proxy_of_ours(peer: str, forwarded: str, client: str) -> None:
    assert passed_on(peer, forwarded)["client"][0] == client


def test_only_a_proxy_of_ours_says_that_a_request_came_encrypted() -> None:
    assert (b"x-forwarded-proto", b"https") in passed_on("10.0.0.1")["headers"]
    assert passed_on("192.0.2.7", "10.0.0.1")["headers"] == []


def test_without_proxies_nothing_is_believed_and_nothing_changes(settings: Any) -> None:
    settings.TRUSTED_PROXIES = []
    scope = passed_on("10.0.0.1", "192.0.2.7")
    assert scope["client"] == ("10.0.0.1", 4711)
    assert len(scope["headers"]) == 2
