"""Every exception that leaves DRF or Django, as problem+json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from core.problems import PROBLEM_CONTENT_TYPE, FieldError, Problem
from core.request_ids import current_request_id

logger = structlog.get_logger(__name__)


def problem_json(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's ``EXCEPTION_HANDLER``. Unknown exceptions become a 500 whose cause is only in the log."""
    problem = as_problem(error)
    if problem is None:
        logger.exception("request.failed", exc_info=error)
        problem = Problem(
            500, "internal_error", "Something went wrong on our side. The request id finds it in our logs."
        )
    headers = problem.all_headers()
    if isinstance(error, exceptions.APIException) and getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    response = Response(
        problem.body(current_request_id()), status=problem.status, headers=headers, content_type=PROBLEM_CONTENT_TYPE
    )
    response.exception = True
    return response


def as_problem(error: Exception) -> Problem | None:
    """The problem that ``error`` stands for, or None where nothing about it may be told."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, exceptions.ValidationError):
        return _invalid(list(_flatten(error.detail, "")))
    if isinstance(error, DjangoValidationError):
        fields = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
        return _invalid(
            [
                FieldError("" if name in ("", "__all__") else f"/{name}", message)
                for name, messages in fields.items()
                for message in messages
            ]
        )
    if isinstance(error, Http404):
        return Problem(404, "not_found", "Not found.")
    if isinstance(error, PermissionDenied):
        return Problem(403, "permission_denied", "You may not do this.")
    if isinstance(error, RequestDataTooBig):
        return Problem(413, "too_large", "The body is larger than allowed.")
    if isinstance(error, exceptions.APIException):
        codes = error.get_codes()
        return Problem(
            error.status_code,
            codes if isinstance(codes, str) else "invalid",
            str(error.detail if isinstance(error.detail, str) else error.default_detail),
            retry_after=getattr(error, "wait", None),
        )
    return None


def _invalid(errors: Sequence[FieldError]) -> Problem:
    return Problem(400, "invalid", "The request is not valid.", errors=errors)


def _flatten(detail: Any, pointer: str) -> Iterator[FieldError]:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _flatten(inner, pointer if name == "non_field_errors" else f"{pointer}/{name}")
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            if isinstance(inner, (Mapping, list)):
                yield from _flatten(inner, f"{pointer}/{index}")
            else:
                yield FieldError(pointer, str(inner))
    else:
        yield FieldError(pointer, str(detail))


def wants_problem(request: HttpRequest) -> bool:
    """API callers get problem+json, browsers on pages get pages."""
    return request.path.startswith(("/api/", "/act"))


def problem_response(problem: Problem) -> HttpResponse:
    """A plain Django response for errors raised outside DRF."""
    response = JsonResponse(problem.body(current_request_id()), status=problem.status)
    response["Content-Type"] = PROBLEM_CONTENT_TYPE
    for name, value in problem.all_headers().items():
        response[name] = value
    return response
