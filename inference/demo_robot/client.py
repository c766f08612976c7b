"""The public HTTP API as a robot's program sees it: plain JSON, an API key, and patience where the API asks for it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

_TIMEOUT_S = 15.0
_LONGEST_PAUSE_S = 10.0
_PAUSE_WITHOUT_ADVICE_S = 0.5
_TRY_AGAIN = frozenset({429, 502, 503, 504})


class ApiError(Exception):
    """The API refused: ``status`` and its problem document's own words."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"The API answered {status}: {detail}")
        self.status = status


class ApiUnavailableError(Exception):
    """No answer after all attempts; another try, later, may succeed."""


class ApiClient:
    """Calls with one key; ``sleep`` is how it waits between its attempts."""

    def __init__(
        self, *, base_url: str, api_key: str, attempts: int = 5, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._attempts = attempts
        self._sleep = sleep

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Post one observation and return the answer.

        Every attempt carries the same ``request_id``: an answer that was made but got lost on the way is then given
        again instead of being computed, and recorded, twice. Raises ``ApiError`` or ``ApiUnavailableError``.
        """
        body = {"request_id": str(uuid.uuid4()), **observation}
        return self._call("POST", "/api/v1/inference", body)

    def find_episode(self, *, collection: str, robot: str, external_id: str) -> str | None:
        """The API's id of the episode that this robot calls ``external_id``, once it has been recorded."""
        query = urlencode({"collection": collection, "robot": robot, "external_id": external_id})
        results = self._call("GET", f"/api/v1/episodes?{query}")["results"]
        return str(results[0]["id"]) if results else None

    def report_outcome(self, episode_id: str, outcome: str) -> None:
        """``outcome`` is ``success``, ``failure`` or ``aborted``."""
        self._call("PATCH", f"/api/v1/episodes/{episode_id}", {"outcome": outcome})

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = Request(
            self._base_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Api-Key {self._api_key}", "Content-Type": "application/json"},
        )
        problem, pause = "no attempt was made", 0.0
        for attempt in range(self._attempts):
            self._sleep(pause)
            pause = _PAUSE_WITHOUT_ADVICE_S * 2**attempt
            try:
                with urlopen(request, timeout=_TIMEOUT_S) as response:
                    answer: dict[str, Any] = json.load(response)
                    return answer
            except HTTPError as error:
                with error:
                    problem = _detail(error.read())
                if error.code not in _TRY_AGAIN:
                    raise ApiError(error.code, problem) from error
                pause = _advised_pause(error.headers.get("Retry-After"), otherwise=pause)
            except (OSError, HTTPException) as error:
                problem = str(error) or type(error).__name__
        raise ApiUnavailableError(f"No answer after {self._attempts} attempts: {problem}")


def _advised_pause(retry_after: str | None, *, otherwise: float) -> float:
    if retry_after is not None and retry_after.isdecimal():
        return min(float(retry_after), _LONGEST_PAUSE_S)
    return otherwise


def _detail(body: bytes) -> str:
    try:
        problem = json.loads(body)
    except ValueError:
        return "an answer that is not JSON"
    if not isinstance(problem, dict):
        return "an answer that is not a problem document"
    return str(problem.get("detail") or problem.get("title") or "no reason given")
