"""The ASGI application: robots' routes go straight to the engine, everything else to Django and Channels."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vla_project.settings.local")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.routing import ProtocolTypeRouter

from core.asgi import Receive, Scope, Send
from core.proxies import TrustedProxies
from inference.robot_api.endpoint import inference
from inference.robot_api.openvla import act
from inference.routing import websockets

_ROBOT_ROUTES = {("POST", "/api/v1/inference"): inference, ("POST", "/act"): act}


async def http(scope: Scope, receive: Receive, send: Send) -> None:
    """Dispatch one HTTP request."""
    endpoint: Any = _ROBOT_ROUTES.get((scope["method"], scope["path"]), django_application)
    await endpoint(scope, receive, send)


application = TrustedProxies(ProtocolTypeRouter({"http": http, "websocket": websockets}))
