"""Django middleware that belongs to no app."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

from core.request_ids import accept_request_id, bind_request_id


class BrowserPolicyMiddleware:
    """What a browser is told besides Django's own headers: our pages use no sensors, and nobody embeds our answers."""

    sync_capable = True
    async_capable = True

    _HEADERS: ClassVar = {
        "Permissions-Policy": "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), "
        "magnetometer=(), microphone=(), midi=(), payment=(), usb=(), browsing-topics=()",
        "Cross-Origin-Resource-Policy": "same-origin",
    }

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if iscoroutinefunction(self.get_response):
            return self._answer_later(request)
        response = self.get_response(request)
        self._tell(response)  # type: ignore[arg-type]
        return response

    async def _answer_later(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await self.get_response(request)  # type: ignore[misc]
        self._tell(response)
        return response

    def _tell(self, response: HttpResponse) -> None:
        for name, value in self._HEADERS.items():
            response.setdefault(name, value)


class RequestIdMiddleware:
    """Give every request an id, bind it to the logs and answer with it in ``X-Request-ID``."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        request_id = accept_request_id(request.headers.get("X-Request-ID"))
        bind_request_id(request_id)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if iscoroutinefunction(self.get_response):
            return self._answer_later(request, request_id)
        response = self.get_response(request)
        assert isinstance(response, HttpResponse) or hasattr(response, "headers")
        response["X-Request-ID"] = request_id  # type: ignore[index]
        return response

    async def _answer_later(self, request: HttpRequest, request_id: str) -> HttpResponse:
        response: HttpResponse = await self.get_response(request)  # type: ignore[misc]
        response["X-Request-ID"] = request_id
        return response
