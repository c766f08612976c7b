"""Errors outside DRF: a page for browsers, problem+json for callers of the API."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from core.exception_handler import as_problem, problem_response, wants_problem
from core.problems import Problem, forbidden, not_found
from core.request_ids import current_request_id


class ProblemMiddleware:
    """Answer a ``Problem`` that a Django view raised, as its caller expects it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return respond(request, exception) if isinstance(exception, Problem) else None


def respond(request: HttpRequest, problem: Problem) -> HttpResponse:
    if wants_problem(request):
        return problem_response(problem)
    context = {"problem": problem, "request_id": current_request_id()}
    response = render(request, "error.html", context, status=problem.status)
    for name, value in problem.all_headers().items():
        response[name] = value
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler400``."""
    return respond(request, as_problem(exception) or Problem(400, "bad_request", "The request is not valid."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler403``."""
    return respond(request, as_problem(exception) or forbidden())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler404``."""
    return respond(request, as_problem(exception) or not_found())


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's ``CSRF_FAILURE_VIEW``: mostly a form that lay open until its session had ended."""
    return respond(request, forbidden(_("The form has expired. Go back, load the page again, and send it once more.")))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's ``handler500``: a page that asks nothing of the database, which may be what failed."""
    problem = Problem(500, "internal_error", "Something went wrong on our side. The request id finds it in our logs.")
    if wants_problem(request):
        return problem_response(problem)
    return render(None, "500.html", {"request_id": current_request_id()}, status=500)
