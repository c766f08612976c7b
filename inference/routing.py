from __future__ import annotations

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path, re_path

from inference.consumers import LiveConsumer, PolicyConsumer

# Robots send no Origin, and a browser may not be made to drive one: its key is in a header that no page can set.
websocket_urlpatterns = [
    path("ws/inference", AllowedHostsOriginValidator(AuthMiddlewareStack(LiveConsumer.as_asgi()))),
    re_path(r"^ws/policy/(?P<slug>[-\w]{1,64})/?$", PolicyConsumer.as_asgi()),
]

websockets = URLRouter(websocket_urlpatterns)
