from __future__ import annotations

from urllib.parse import ParseResult

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.urls import path, re_path

from inference.consumers import LiveConsumer, PolicyConsumer


class BrowserOriginValidator(OriginValidator):
    """Refuses pages of other sites. A client without Origin is no browser: those always send one."""

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        return parsed_origin is None or bool(super().valid_origin(parsed_origin))


# Robots send no Origin, and a browser may not be made to drive one: its key is in a header that no page can set.
websocket_urlpatterns = [
    path("ws/inference", BrowserOriginValidator(AuthMiddlewareStack(LiveConsumer.as_asgi()), settings.ALLOWED_HOSTS)),
    re_path(r"^ws/policy/(?P<slug>[-\w]{1,64})/?$", PolicyConsumer.as_asgi()),
]

websockets = URLRouter(websocket_urlpatterns)
