"""Every error leaves as problem+json and says nothing of the inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.test import APIClient

from core.exception_handler import as_problem, problem_json
from core.problems import FieldError, Problem, invalid, not_found, unauthenticated


def test_a_problem_has_the_fields_of_rfc_9457_and_names_fields_only_where_some_are_wrong() -> None:
    body = invalid("/state/3", "Must be a number.").body("request-1")
    assert body == {
        "type": "/docs/errors#invalid",
        "title": "Bad Request",
        "status": 400,
        "detail": "The request is not valid.",
        "code": "invalid",
        "request_id": "request-1",
        "errors": [{"pointer": "/state/3", "detail": "Must be a number."}],
    }
    assert "errors" not in not_found().body("request-1")


@pytest.mark.parametrize(("seconds", "told"), [(0.001, "1"), (1.0, "1"), (1.2, "2"), (60, "60")])
def test_retry_after_is_in_whole_seconds_and_never_too_early(seconds: float, told: str) -> None:
    assert Problem(503, "unavailable", "", retry_after=seconds).all_headers() == {"Retry-After": told}


def test_a_401_says_how_to_prove_oneself() -> None:
    assert unauthenticated().all_headers()["WWW-Authenticate"].startswith("Api-Key")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404("secret"), 404, "not_found"),
        (PermissionDenied("secret"), 403, "permission_denied"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.Throttled(wait=3), 429, "throttled"),
        (DjangoValidationError({"name": ["Too long."]}), 400, "invalid"),
    ],
)
def test_known_errors_become_problems(error: Exception, status: int, code: str) -> None:
    problem = as_problem(error)
    assert problem is not None
    assert (problem.status, problem.code) == (status, code)
    assert "secret" not in problem.detail


def test_nested_validation_errors_get_pointers() -> None:
    error = exceptions.ValidationError(
        {"a": {"b": ["Wrong."]}, "c": [{}, {"d": ["Bad."]}], "non_field_errors": ["No."]}
    )
    problem = as_problem(error)
    assert problem is not None
    assert problem.errors == (FieldError("/a/b", "Wrong."), FieldError("/c/1/d", "Bad."), FieldError("", "No."))


def test_an_unknown_error_is_a_500_without_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    response = problem_json(RuntimeError("SELECT secret FROM /etc/passwd"), {})
    assert response is not None
    assert (response.status_code, response.data["code"]) == (500, "internal_error")
    assert "secret" not in str(response.data)


@pytest.fixture
def client(db: None, api: Callable[..., APIClient]) -> Iterator[APIClient]:
    return api()


def test_an_api_route_that_is_not_there_is_a_problem(client: APIClient) -> None:
    response = client.get("/api/v1/nowhere")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        ("robot-7_step.3", True),
        ("0123456789abcdef" * 4, True),
        ("7", True),
        ("x" * 65, False),
        ("with space!", False),
        ("line\\nbreak0", False),
        ("<script>alert(1)</script>", False),
    ],
)
def test_the_callers_request_id_is_kept_where_it_is_plain(client: APIClient, offered: str, kept: bool) -> None:
    response = client.get("/api/v1/nowhere", headers={"X-Request-ID": offered})
    assert (response["X-Request-ID"] == offered) == kept
    assert response.json()["request_id"] == response["X-Request-ID"]
