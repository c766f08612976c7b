"""Problem details (RFC 9457): the one shape of every error that leaves the system."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypedDict

PROBLEM_CONTENT_TYPE = "application/problem+json"
PROBLEM_TYPE = "/docs/errors#{code}"


class FieldErrorBody(TypedDict):
    """One wrong field: a JSON pointer (RFC 6901) and what is wrong there."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class FieldError:
    pointer: str
    detail: str


class Problem(Exception):
    """An error that the caller may see.

    ``code`` is stable and machine-readable; ``retry_after`` is in seconds and becomes the ``Retry-After`` header.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.headers = headers or {}

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON body of this problem."""
        return problem_body(
            status=self.status, code=self.code, detail=self.detail, errors=self.errors, request_id=request_id
        )

    def all_headers(self) -> dict[str, str]:
        """Extra response headers, ``Retry-After`` (whole seconds, at least 1) among them."""
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, -int(-self.retry_after // 1)))
        return headers


def problem_body(
    *, status: int, code: str, detail: str, request_id: str, errors: Iterable[FieldError] = ()
) -> dict[str, Any]:
    """A problem document. ``errors`` is present only where fields are named."""
    body: dict[str, Any] = {
        "type": PROBLEM_TYPE.format(code=code),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    listed: list[FieldErrorBody] = [{"pointer": e.pointer, "detail": e.detail} for e in errors]
    if listed:
        body["errors"] = listed
    return body


def invalid(pointer: str, detail: str, *, code: str = "invalid") -> Problem:
    """A 400 that names one field."""
    return Problem(400, code, "The request is not valid.", errors=[FieldError(pointer, detail)])


def not_found(detail: str = "Not found.") -> Problem:
    return Problem(404, "not_found", detail)


def forbidden(detail: str = "You may not do this.") -> Problem:
    return Problem(403, "permission_denied", detail)


def unauthenticated(detail: str = "Credentials are missing or wrong.") -> Problem:
    return Problem(401, "not_authenticated", detail, headers={"WWW-Authenticate": 'Api-Key realm="api"'})
