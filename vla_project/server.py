"""The web process: daphne with a bound on what a request may make it hold.

Daphne takes in a whole body before the application may refuse it, so the bound is kept where bytes arrive: a request
that announces or sends more is answered 413 and cut off.
"""

from __future__ import annotations

import os

os.environ.setdefault("DATABASE_POOL", "1")

from core.problems import PROBLEM_CONTENT_TYPE, Problem
from core.request_ids import accept_request_id


def main() -> None:
    """Serve ``vla_project.asgi`` on ``HOST:PORT`` until told to stop."""
    import orjson
    from daphne import http_protocol
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.server import Server
    from django.conf import settings

    from vla_project.asgi import application  # sets Django up; everything below may use settings

    limit: int = settings.INFERENCE["MAX_BODY_BYTES"] + 64 * 1024

    class BoundedRequest(http_protocol.WebRequest):
        """Refuses a body beyond the limit as soon as it is known to be."""

        received = 0

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

    http_protocol.WebRequest = BoundedRequest  # the name by which daphne's factory finds it
    Server(
        application=application,
        endpoints=build_endpoint_description_strings(host=settings.HOST, port=settings.PORT),
        signal_handlers=True,
        http_timeout=None,
        websocket_timeout=-1,
        websocket_connect_timeout=20,
        ping_interval=20,
        ping_timeout=30,
        request_buffer_size=65536,
        server_name="vla",
        verbosity=0,
    ).run()


if __name__ == "__main__":
    main()
