"""What a thin ASGI endpoint needs: the body under a bound, and answers as JSON or problem+json."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import orjson

from core.problems import PROBLEM_CONTENT_TYPE, Problem
from core.request_ids import accept_request_id, bind_request_id

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]


class ClientDisconnectedError(Exception):
    """The client left before its body was read."""


def header(scope: Scope, name: bytes) -> str:
    """The first header called ``name`` (lower case), or an empty string."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""


def client_address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def begin_request(scope: Scope) -> str:
    """Accept or make the request's id and bind it to this task's logs."""
    request_id = accept_request_id(header(scope, b"x-request-id"))
    bind_request_id(request_id)
    return request_id


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """The whole body. Raises ``Problem`` 413 beyond ``limit`` bytes, before reading them where the length is told."""
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > limit:
        raise too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnectedError
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit:
            raise too_large(limit)
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
    return b"".join(parts)


def too_large(limit: int) -> Problem:
    return Problem(413, "too_large", f"The body is larger than {limit // (1024 * 1024)} MiB.")


async def respond(
    send: Send,
    *,
    status: int,
    body: bytes,
    content_type: str,
    request_id: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> None:
    """Send one whole answer."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"x-request-id", request_id.encode()),
                (b"x-content-type-options", b"nosniff"),
                *((name.lower().encode(), value.encode()) for name, value in pairs),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def respond_problem(send: Send, problem: Problem, request_id: str) -> None:
    await respond(
        send,
        status=problem.status,
        body=orjson.dumps(problem.body(request_id)),
        content_type=PROBLEM_CONTENT_TYPE,
        request_id=request_id,
        headers=problem.all_headers(),
    )
