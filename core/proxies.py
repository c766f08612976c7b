"""Whom a request comes from when proxies stand in front: limits, allowed networks and the audit trail go by it."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any, TypeAlias

from django.conf import settings

from core.asgi import Receive, Scope, Send

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_FORWARDED_FOR = b"x-forwarded-for"
_FORWARDED_PROTO = b"x-forwarded-proto"


class TrustedProxies:
    """ASGI: put the client's own address into the scope where ``TRUSTED_PROXIES`` passed the request on.

    ``X-Forwarded-For`` is read from its end, and only as far as trusted proxies wrote it: what a client puts in front
    is not believed. From anybody else both forwarding headers are dropped. Without trusted proxies nothing changes.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if settings.TRUSTED_PROXIES and scope["type"] in ("http", "websocket"):
            scope = {**scope, **_as_the_proxies_say(scope)}
        await self.application(scope, receive, send)


def networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """``texts`` as networks. Raises ``ValueError`` where one is none."""
    return tuple(ipaddress.ip_network(text) for text in texts)


_networks = lru_cache(maxsize=4)(networks)


def _as_the_proxies_say(scope: Scope) -> dict[str, Any]:
    peer = scope.get("client") or ("", 0)
    if not _is_trusted(peer[0]):
        dropped = (_FORWARDED_FOR, _FORWARDED_PROTO)
        return {"headers": [pair for pair in scope["headers"] if pair[0] not in dropped]}
    hops = b",".join(value for name, value in scope["headers"] if name == _FORWARDED_FOR).decode("latin-1").split(",")
    address = peer[0]
    while hops and _is_trusted(address):
        hop = _address(hops.pop())
        if hop is None:
            break
        address = hop
    return {"client": (address, 0 if address != peer[0] else peer[1])}


def _is_trusted(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in network for network in _networks(tuple(settings.TRUSTED_PROXIES)))


def _address(hop: str) -> str | None:
    """A hop without the port that some proxies add; None where it is no address."""
    text = hop.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
