"""A stand-in for the public API: answers what a test scripts, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Answer(NamedTuple):
    status: int
    body: dict[str, Any]
    headers: dict[str, str] = {}


class Request(NamedTuple):
    method: str
    path: str
    authorization: str
    body: dict[str, Any]


class FakeApi:
    """``act`` maps an observation to actions; ``instead`` holds answers to give first, to any observation."""

    def __init__(self, act: Callable[[dict[str, Any]], list[list[float]]]) -> None:
        self.act = act
        self.instead: deque[Answer] = deque()
        self.episode_is_unknown_times = 0
        self.requests: list[Request] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(
                    self.command, self.path, self.headers["Authorization"], json.loads(body) if body else {}
                )
                api.requests.append(request)
                answer = api.answer(request)
                payload = json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(payload))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PATCH = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Tests read ``requests`` instead."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            if self.instead:
                return self.instead.popleft()
            return Answer(200, {"request_id": request.body["request_id"], "actions": self.act(request.body)})
        if request.method == "GET":
            if self.episode_is_unknown_times:
                self.episode_is_unknown_times -= 1
                return Answer(200, {"next": None, "previous": None, "results": []})
            return Answer(200, {"next": None, "previous": None, "results": [{"id": "episode-id"}]})
        return Answer(200, {"id": "episode-id", **request.body})

    @property
    def observations(self) -> list[dict[str, Any]]:
        """The bodies of all inference requests."""
        return [request.body for request in self.requests if request.path == "/api/v1/inference"]

    @property
    def outcomes(self) -> list[str]:
        """What was reported about episodes."""
        return [request.body["outcome"] for request in self.requests if request.method == "PATCH"]
