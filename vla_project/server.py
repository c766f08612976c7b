"""The web process: daphne with bounds on what it may be made to hold, in both directions.

Daphne takes in a whole body before the application may refuse it, so the bound is kept where bytes arrive: a request
that announces or sends more is answered 413 and cut off. And daphne buffers what a socket does not take without telling
the application, so a WebSocket's scope gets the extension ``vla.unsent_bytes``: a function that says how much that is.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

os.environ.setdefault("DATABASE_POOL", "1")

from core.garbage import spare_what_is_loaded
from core.problems import PROBLEM_CONTENT_TYPE, Problem
from core.request_ids import accept_request_id


def main() -> None:
    """Serve ``vla_project.asgi`` on ``HOST:PORT`` until told to stop."""
    import orjson
    from daphne import http_protocol
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.server import Server
    from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
    from django.conf import settings

    from vla_project.asgi import application  # sets Django up; everything below may use settings

    limit: int = settings.INFERENCE["MAX_BODY_BYTES"] + 64 * 1024

    class BoundedRequest(http_protocol.WebRequest):
        """Refuses a body beyond the limit as soon as it is known to be."""

        received = 0

        def __init__(self, *args: object, **options: object) -> None:
            # Django parses forms; Twisted would do it first, and read the content type at length to find out.
            super().__init__(*args, **options, parsePOSTFormSubmission=False)

        def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
            super().gotLength(length)
            if length is not None and length > limit:
                self._refuse()

        def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
            self.received += len(data)
            if self.received > limit:
                self._refuse()
            else:
                super().handleContentChunk(data)

        def _refuse(self) -> None:
            problem = Problem(413, "too_large", f"The body is larger than {limit >> 20} MiB.")
            request_id = accept_request_id(None)
            body = orjson.dumps(problem.body(request_id))
            self.channel.transport.write(
                b"HTTP/1.1 413 Content Too Large\r\nContent-Type: %s\r\nContent-Length: %d\r\n"
                b"X-Request-ID: %s\r\nConnection: close\r\n\r\n"
                % (PROBLEM_CONTENT_TYPE.encode(), len(body), request_id.encode())
                + body
            )
            self.channel.loseConnection()

    class DirectWebSocket(WebSocketProtocol):
        """Describes no bytes to a log that nobody keeps, and sends at once what the kernel takes at once."""

        def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
            self._dataReceived(data)

        def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
            transport = self.transport
            free = transport.connected and not _unsent_bytes(self)
            sent = transport.writeSomeData(data) if free else 0
            # An error is met again, and its connection closed, by Twisted's own way.
            transport.write(data[sent:] if isinstance(sent, int) else data)

    class ObservedServer(Server):
        """Tells a WebSocket's application how many bytes the transport still holds."""

        def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
            if scope["type"] == "websocket":
                scope.setdefault("extensions", {})["vla.unsent_bytes"] = partial(_unsent_bytes, protocol)
            return super().create_application(protocol, scope)

    spare_what_is_loaded()
    http_protocol.WebRequest = BoundedRequest  # the name by which daphne's factory finds it
    WebSocketFactory.protocol = DirectWebSocket
    ObservedServer(
        application=application,
        endpoints=build_endpoint_description_strings(host=settings.HOST, port=settings.PORT),
        signal_handlers=True,
        http_timeout=None,
        websocket_timeout=-1,
        websocket_connect_timeout=20,
        websocket_max_message_size=limit,
        websocket_max_frame_size=limit,
        ping_interval=20,
        ping_timeout=30,
        request_buffer_size=65536,
        server_name="vla",
        verbosity=0,
    ).run()


def _unsent_bytes(protocol: Any) -> int:
    """What Twisted's transport has taken and not yet given to the kernel."""
    transport = protocol.transport
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


if __name__ == "__main__":
    main()
