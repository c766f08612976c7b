"""A client of the application's WebSockets, without a server in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from channels.testing import WebsocketCommunicator


class Socket(WebsocketCommunicator):
    """One connection. ``authorization`` is the header's value; ``cookie`` a session's.

    ``origin`` is that of one of our pages where there is a cookie, as a browser sends it; None is none at all.
    """

    def __init__(
        self,
        path: str,
        *,
        authorization: str = "",
        cookie: str = "",
        origin: str | None = "",
        subprotocols: Iterable[str] = (),
    ) -> None:
        from vla_project.asgi import application

        if origin == "" and cookie:
            origin = "http://testserver"
        given = {"authorization": authorization, "cookie": cookie, "origin": origin, "host": "testserver"}
        headers = [(name.encode(), value.encode()) for name, value in given.items() if value]
        super().__init__(application, path, headers, subprotocols=list(subprotocols))

    async def open(self) -> str | None:
        """Connect; the subprotocol that was chosen. Fails where the handshake is refused."""
        accepted, chosen = await self.connect(timeout=5)
        assert accepted, "the handshake was refused"
        return chosen

    async def receive_bytes(self, timeout: float = 5) -> bytes:
        """The next message, which must be a binary frame."""
        message = await self.receive_output(timeout)
        assert message.get("bytes") is not None, f"not a binary frame: {message}"
        return bytes(message["bytes"])

    async def receive_text(self, timeout: float = 5) -> str:
        """The next message, which must be a text frame."""
        message = await self.receive_output(timeout)
        assert message.get("text") is not None, f"not a text frame: {message}"
        return str(message["text"])

    async def close_code(self, timeout: float = 5) -> int:
        """The code with which the server closes; what it still sends before is skipped."""
        message: dict[str, Any] = {}
        while message.get("type") != "websocket.close":
            message = await self.receive_output(timeout)
        return int(message["code"])
