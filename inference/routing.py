from __future__ import annotations

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.urls import path, re_path

from core.asgi import Receive, Scope, Send, header
from inference.consumers import LiveConsumer, PolicyConsumer


class BrowserOriginValidator:
    """Refuses pages of other sites, those on another port of our host too: a cookie does not tell ports apart.

    Browsers always send an Origin. Without one a session's cookie does not count: a program brings credentials that no
    page can make a browser send.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = header(scope, b"origin")
        allowed = _is_ours(origin, header(scope, b"host")) if origin else not _relies_on_a_session(scope)
        await (self.application if allowed else WebsocketDenier())(scope, receive, send)


def _is_ours(origin: str, host: str) -> bool:
    """As Django judges the origin of a form, but for the scheme: TLS may end in front of us."""
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    scheme, _, netloc = origin.partition("://")
    name, _port = split_domain_port(host)
    known = name and validate_host(name, settings.ALLOWED_HOSTS)
    return bool(known and scheme in ("http", "https") and netloc.lower() == host.lower())


def _relies_on_a_session(scope: Scope) -> bool:
    tokens = any(offered.startswith("bearer.") for offered in scope.get("subprotocols", []))
    return bool(header(scope, b"cookie")) and not header(scope, b"authorization") and not tokens


_live: Any = BrowserOriginValidator(AuthMiddlewareStack(LiveConsumer.as_asgi()))
# Robots send no Origin, and a browser may not be made to drive one: its key is in a header that no page can set.
websocket_urlpatterns = [
    path("ws/inference", _live),
    re_path(r"^ws/policy/(?P<slug>[-\w]{1,64})/?$", PolicyConsumer.as_asgi()),
]

websockets = URLRouter(websocket_urlpatterns)
