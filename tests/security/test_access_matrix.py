"""Every route and method, walked by everybody who could ask.

The routes come from the URL configuration: one without a row in ``ROWS`` fails, and so does a method that a route
answers without a row saying who may. The admin's routes have their matrix in test_admin_matrix.py; robots' own routes
and the sockets, which do not pass Django, in test_socket_matrix.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.choices import ROLE_PERMISSIONS, Permission
from tests.security.world import CHANGEABLE, EVERYBODY, KEYS, OUTSIDERS, ROLES, World, client_of, create_world
from tests.security.writes import writes_to

pytestmark = pytest.mark.django_db

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ANYBODY = frozenset(EVERYBODY)
SESSIONS = frozenset({"stranger", *ROLES, "superuser"})
CREDENTIALS = ANYBODY - {"nobody"}
# A session that such a request has ended cannot be used for the next row.
ENDS_SESSIONS = {"logout/", "account/log-out-everywhere/", "account/second-factor/"}


def holding(*permissions: Permission) -> frozenset[str]:
    """Who holds any of ``permissions`` on the collection of the world."""
    roles = {name for name, role in ROLES.items() if ROLE_PERMISSIONS[role] & set(permissions)}
    return frozenset(roles | {name for name, scope in KEYS.items() if scope in permissions} | {"superuser"})


READ = holding(Permission.DATA_READ)
MEMBER = frozenset({*ROLES, *KEYS, "superuser"})
ANNOTATE = holding(Permission.FEEDBACK_WRITE)
REVIEW = holding(Permission.FEEDBACK_REVIEW)
MANAGE = holding(Permission.COLLECTION_MANAGE)
SUPERUSER = frozenset({"superuser"})
EXPORT = holding(Permission.EXPORT_WRITE)


@dataclass(frozen=True)
class Row:
    """Who may, and what they are answered.

    ``ok`` are the statuses of those who may: of a body that is valid, or of one that is refused only for what it says.
    ``unknown`` is the status of those without credentials, to whom keys belong where only ``sessions`` count; 302 is
    the log-in page. ``refused`` is the status of those who are known but may not: unless it says so, 404 for outsiders,
    403 or 404 for members. A ``listing`` answers those too, with nothing of the collection in it.
    """

    url: str
    allowed: frozenset[str]
    ok: frozenset[int] = frozenset({200})
    body: Any = None
    json: bool = False
    sessions: bool = False
    unknown: int = 401
    refused: int = 0
    listing: bool = False


def page(url: str, allowed: frozenset[str], *ok: int, **extra: Any) -> Row:
    return Row(url, allowed & SESSIONS, frozenset(ok or {200}), sessions=True, **{"unknown": 302, **extra})


def api(url: str, allowed: frozenset[str], *ok: int, **extra: Any) -> Row:
    return Row("/api/v1/" + url, allowed, frozenset(ok or {200}), json=True, **extra)


ROWS: dict[tuple[str, str], Row] = {
    # operations
    ("GET", "healthz"): Row("/healthz", ANYBODY),
    ("GET", "readyz"): Row("/readyz", ANYBODY, frozenset({200, 503})),
    ("GET", "metrics"): Row("/metrics", ANYBODY),
    ("GET", "jsi18n/"): Row("/jsi18n/", ANYBODY),
    ("GET", "objects/<str:token>"): Row("/objects/forged", ANYBODY, frozenset({404})),
    # logging in and one's own account
    ("GET", "login/"): Row("/login/", ANYBODY),
    ("POST", "login/"): Row("/login/", ANYBODY),
    ("GET", "login/code/"): Row("/login/code/", ANYBODY, frozenset({302})),
    ("POST", "login/code/"): Row("/login/code/", ANYBODY, frozenset({302})),
    ("POST", "logout/"): Row("/logout/", ANYBODY, frozenset({302})),
    ("GET", "account/"): page("/account/", SESSIONS),
    ("GET", "account/password/"): page("/account/password/", SESSIONS),
    ("POST", "account/password/"): page("/account/password/", SESSIONS),
    ("GET", "account/second-factor/"): page("/account/second-factor/", SESSIONS),
    ("POST", "account/second-factor/"): page("/account/second-factor/", SESSIONS),
    ("POST", "account/log-out-everywhere/"): page("/account/log-out-everywhere/", SESSIONS, 302),
    ("POST", "api/v1/auth/token"): api("auth/token", ANYBODY, 400),
    ("POST", "api/v1/auth/refresh"): api("auth/refresh", ANYBODY, 400),
    ("POST", "api/v1/auth/logout"): api("auth/logout", ANYBODY, 401),
    ("GET", "api/v1/schema"): api("schema", ANYBODY),
    ("GET", "api/v1/docs"): api("docs", ANYBODY),
    # pages of a collection
    ("GET", ""): page("/", READ, listing=True),
    ("GET", "collections/"): page("/collections/", READ, listing=True),
    ("GET", "collections/<slug:slug>/"): page("/collections/{slug}/", READ),
    ("GET", "collections/<slug:slug>/results/"): page("/collections/{slug}/results/", READ),
    ("GET", "collections/<slug:slug>/episodes/"): page("/collections/{slug}/episodes/", READ),
    ("GET", "collections/<slug:slug>/exports/"): page("/collections/{slug}/exports/", READ),
    ("POST", "collections/<slug:slug>/exports/"): page("/collections/{slug}/exports/", EXPORT),
    ("GET", "collections/<slug:slug>/runs/"): page("/collections/{slug}/runs/", READ),
    ("POST", "collections/<slug:slug>/runs/"): page("/collections/{slug}/runs/", EXPORT, 302),
    ("GET", "collections/<slug:slug>/compare/"): page("/collections/{slug}/compare/", READ),
    ("GET", "collections/<slug:slug>/members/"): page("/collections/{slug}/members/", READ),
    ("POST", "collections/<slug:slug>/members/"): page("/collections/{slug}/members/", MANAGE),
    ("POST", "collections/<slug:slug>/members/<int:pk>/remove/"): page(
        "/collections/{slug}/members/{membership}/remove/", MANAGE, 302
    ),
    ("GET", "collections/<slug:slug>/import/<str:kind>/"): page("/collections/{slug}/import/members/", MANAGE),
    ("POST", "collections/<slug:slug>/import/<str:kind>/"): page(
        "/collections/{slug}/import/robots/", MANAGE, 302, body={"text": "name,description\nr-1,x", "confirm": "1"}
    ),
    ("GET", "collections/<slug:slug>/map/"): page("/collections/{slug}/map/", READ),
    ("GET", "search/"): page("/search/?q=cube", READ, listing=True),
    ("POST", "search/saved/"): page("/search/saved/", SESSIONS, 302),
    ("POST", "search/saved/<uuid:pk>/delete/"): page("/search/saved/{new}/delete/", frozenset(), refused=404),
    ("GET", "collections/<slug:slug>/retention/"): page("/collections/{slug}/retention/", READ),
    ("POST", "collections/<slug:slug>/retention/"): page("/collections/{slug}/retention/", MANAGE),
    ("POST", "collections/<slug:slug>/retention/<int:pk>/remove/"): page(
        "/collections/{slug}/retention/1/remove/", MANAGE, 404
    ),
    ("GET", "episodes/<uuid:pk>/"): page("/episodes/{episode}/", READ),
    ("POST", "episodes/<uuid:pk>/"): page("/episodes/{episode}/", ANNOTATE, 302),
    ("GET", "results/<uuid:request_id>/"): page("/results/{result}/", READ, 302),
    ("GET", "live/"): page("/live/", READ, 200, 302, listing=True),
    ("GET", "live/<slug:slug>/"): page("/live/{slug}/", READ),
    ("GET", "live/<slug:slug>/frames/<uuid:request_id>/<slug:camera>"): Row(
        "/live/{slug}/frames/{result}/base", READ, frozenset({302})
    ),
    # feedback pages
    ("GET", "feedback/"): page("/feedback/", ANNOTATE, listing=True),
    ("POST", "feedback/next/"): page("/feedback/next/", SESSIONS, 302),
    ("POST", "feedback/flag/<uuid:request_id>"): page("/feedback/flag/{result}", ANNOTATE, 200, 201, unknown=401),
    ("GET", "feedback/review/"): page("/feedback/review/", REVIEW, listing=True),
    ("GET", "feedback/review/<uuid:pk>/"): page("/feedback/review/{answer}/", REVIEW),
    ("POST", "feedback/review/<uuid:pk>/"): page("/feedback/review/{answer}/", REVIEW, 422),
    ("GET", "feedback/similar/<uuid:request_id>/"): page("/feedback/similar/{result}/", REVIEW),
    ("POST", "feedback/similar/<uuid:request_id>/"): page("/feedback/similar/{result}/", REVIEW, 302),
    ("GET", "feedback/disputes/<uuid:pk>/"): page("/feedback/disputes/{dispute}/", REVIEW),
    ("POST", "feedback/disputes/<uuid:pk>/"): page("/feedback/disputes/{dispute}/", REVIEW, 422),
    ("GET", "feedback/agreement/<slug:slug>/"): page("/feedback/agreement/{slug}/", REVIEW),
    ("GET", "feedback/<uuid:pk>/"): page("/feedback/{task}/", ANNOTATE),
    ("POST", "feedback/<uuid:pk>/"): page("/feedback/{task}/", ANNOTATE, 409, 422),
    ("POST", "feedback/<uuid:pk>/take/"): page("/feedback/{task}/take/", ANNOTATE, 302, refused=302),
    ("POST", "feedback/<uuid:pk>/draft/"): page(
        "/feedback/{task}/draft/", ANNOTATE, 200, 409, unknown=401, json=True, body={"comment": "x"}
    ),
    ("POST", "feedback/<uuid:pk>/skip/"): page("/feedback/{task}/skip/", ANNOTATE, 302, refused=302),
    ("POST", "feedback/<uuid:pk>/release/"): page("/feedback/{task}/release/", ANNOTATE, 302, refused=302),
    # collections and episodes
    ("GET", "api/v1/collections"): api("collections", MEMBER, listing=True),
    ("POST", "api/v1/collections"): api("collections", frozenset({"superuser"}), 400, refused=403),
    ("GET", "api/v1/collections/<slug:slug>"): api("collections/{slug}", MEMBER),
    ("PATCH", "api/v1/collections/<slug:slug>"): api("collections/{slug}", MANAGE, body={"name": "Renamed"}),
    ("GET", "api/v1/episodes"): api("episodes", READ, listing=True),
    ("GET", "api/v1/episodes/<uuid:pk>"): api("episodes/{episode}", READ),
    ("PATCH", "api/v1/episodes/<uuid:pk>"): api(
        "episodes/{episode}", holding(Permission.INFERENCE_WRITE, Permission.FEEDBACK_WRITE), body={"tags": ["a"]}
    ),
    # results and models
    ("GET", "api/v1/^inference$"): api("inference", READ, listing=True),
    # The robots' endpoint answers before Django; Django's stand-in exists for the schema.
    ("POST", "api/v1/^inference$"): api("inference", frozenset(), 404, 405),
    ("GET", "api/v1/^inference/(?P<request_id>[0-9a-fA-F-]{32,36})$"): api("inference/{result}", READ),
    ("GET", "api/v1/^models$"): api("models", READ, listing=True),
    ("POST", "api/v1/^models$"): api(
        "models", SUPERUSER, 201, refused=403, body={"name": "new", "version": "1", "backend": "simulated"}
    ),
    ("POST", "api/v1/^models/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)/deploy$"): api(
        "models/{policy}/deploy",
        MANAGE,
        200,
        body={"version": "{policy_version}", "collection": "{slug}", "role": "shadow"},
    ),
    ("POST", "api/v1/^models/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)/activate$"): api(
        "models/{policy}/activate", MANAGE, 200, body={"version": "{policy_version}", "collection": "{slug}"}
    ),
    ("POST", "api/v1/^models/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)/withdraw$"): api(
        "models/{policy}/withdraw", MANAGE, 204, body={"version": "{policy_version}", "collection": "{slug}"}
    ),
    ("POST", "api/v1/^models/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)/retire$"): api(
        "models/{policy}/retire", SUPERUSER, 400, refused=403, body={}
    ),
    ("GET", "api/v1/^models/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)$"): api("models/{policy}", READ),
    # feedback
    ("GET", "api/v1/feedback"): api("feedback", READ, listing=True),
    ("POST", "api/v1/feedback"): api(
        "feedback", ANNOTATE, 201, body={"request_id": "{result}", "type": "rating", "rating": 3}
    ),
    ("GET", "api/v1/feedback/<uuid:pk>"): api("feedback/{answer}", READ),
    # pipeline
    ("GET", "api/v1/collections/<slug:slug>/stats"): api("collections/{slug}/stats", READ),
    ("GET", "api/v1/collections/<slug:slug>/runs"): api("collections/{slug}/runs", READ),
    ("POST", "api/v1/collections/<slug:slug>/runs"): api("collections/{slug}/runs", EXPORT, 202),
    ("GET", "api/v1/runs/<uuid:run_id>"): api("runs/{run}", READ),
    ("GET", "api/v1/runs/<uuid:run_id>/quarantine"): api("runs/{run}/quarantine", READ),
    ("POST", "api/v1/runs/<uuid:run_id>/quarantine"): api("runs/{run}/quarantine", EXPORT, 202),
    ("GET", "api/v1/quarantine/<uuid:record_id>"): api("quarantine/{refused}", READ),
    ("PATCH", "api/v1/quarantine/<uuid:record_id>"): api(
        "quarantine/{refused}", MANAGE, 204, body={"images": {}, "replay": False}
    ),
    ("POST", "api/v1/runs/<uuid:run_id>/cancel"): api("runs/{run}/cancel", EXPORT),
    ("GET", "api/v1/collections/<slug:slug>/exports"): api("collections/{slug}/exports", READ),
    ("POST", "api/v1/collections/<slug:slug>/exports"): api(
        "collections/{slug}/exports", EXPORT, 202, body={"format": "csv"}
    ),
    ("GET", "api/v1/exports/<uuid:export_id>"): api("exports/{export}", READ),
    ("GET", "api/v1/search"): api("search", READ, 200, body={"q": "cube", "collection": "{slug}"}),
    ("GET", "api/v1/search/suggestions"): api("search/suggestions", READ, body={"q": "cube", "collection": "{slug}"}),
    ("GET", "api/v1/collections/<slug:slug>/map"): api("collections/{slug}/map", READ),
}


def routes() -> Iterator[str]:
    """The route of every view outside the admin, as the URL configuration writes it."""
    yield from (route for route in _walk(get_resolver().url_patterns) if not route.startswith("admin/"))


def _walk(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
    for entry in patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry.url_patterns, route)
        else:
            yield route


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    location: str
    changed: bool


def ask(client: Client, method: str, row: Row, world: World, *, watch: bool = False) -> Answer:
    """One request, whose effects are undone; with ``watch`` they are looked for."""
    url, body = fill(row.url, world), fill(row.body or {}, world)
    with transaction.atomic(), writes_to(CHANGEABLE if watch else ()) as writes:
        if method in ("GET", "HEAD"):
            response = getattr(client, method.lower())(url, body)
        elif row.json:
            response = client.generic(method, url, orjson.dumps(body), "application/json")
        else:
            response = client.generic(method, url, urlencode(body), "application/x-www-form-urlencoded")
        transaction.set_rollback(True)
    content = b"".join(response.streaming_content) if response.streaming else response.content
    location = response.headers.get("Location", "")
    return Answer(response.status_code, content.decode() + location, location, bool(writes))


def fault(row: Row, kind: str, answer: Answer, marker: str) -> str:
    """What is wrong with the answer that ``kind`` got; empty when nothing is."""
    if kind in row.allowed:
        expected = row.ok
    elif kind not in (SESSIONS if row.sessions else CREDENTIALS):
        expected = frozenset({row.unknown})
        if answer.status == 302 and not answer.location.startswith("/login/"):
            return f"sent to {answer.location}"
    elif row.listing:
        expected = frozenset({200, 302})
    else:
        expected = frozenset({row.refused} if row.refused else {404} if kind in OUTSIDERS else {403, 404})
    if answer.status not in expected:
        return f"{answer.status}, not {sorted(expected)}"
    if answer.changed and kind not in row.allowed:
        return "changed something"
    if row.listing and kind in SESSIONS | CREDENTIALS and (marker in answer.text) != (kind in row.allowed):
        return "sees it" if marker in answer.text else "does not see it"
    return ""


def fill(template: Any, world: World) -> Any:
    """``template`` with the world's names in it."""
    if isinstance(template, dict):
        return {name: fill(value, world) for name, value in template.items()}
    return template.format(**world.names) if isinstance(template, str) else template


def test_every_route_has_a_row() -> None:
    known = {route for _method, route in ROWS}
    missing, stale = sorted(set(routes()) - known), sorted(known - set(routes()))
    assert (missing, stale) == ([], []), "Say in ROWS who may use it."


@pytest.fixture
def world() -> World:
    return create_world()


@pytest.fixture
def clients(world: World) -> dict[str, Client]:
    return {kind: client_of(kind, world.collection) for kind in EVERYBODY}


def test_each_caller_is_answered_what_the_row_says(world: World, clients: dict[str, Client]) -> None:
    faults = {}
    for (method, route), row in ROWS.items():
        for kind in EVERYBODY:
            client = client_of(kind, world.collection) if route in ENDS_SESSIONS else clients[kind]
            watch = method != "GET" and kind not in row.allowed
            reason = fault(row, kind, ask(client, method, row, world, watch=watch), world.marker)
            if reason:
                faults[method, route, kind] = reason
    assert faults == {}


def test_what_is_watched_for_is_noticed(world: World, clients: dict[str, Client]) -> None:
    row = ROWS["PATCH", "api/v1/collections/<slug:slug>"]
    assert ask(clients["manager"], "PATCH", row, world, watch=True).changed
    assert not ask(clients["manager"], "GET", row, world, watch=True).changed


def test_a_method_without_a_row_does_nothing(world: World, clients: dict[str, Client]) -> None:
    faults = {}
    for method, route in itertools.product(METHODS, routes()):
        if (method, route) not in ROWS:
            row = next(row for (_method, known), row in ROWS.items() if known == route)
            answer = ask(clients["superuser"], method, row, world)
            if answer.status != 405:
                faults[method, route] = answer.status
    assert faults == {}


def test_what_a_route_says_of_itself_names_nothing_and_looking_without_reading_is_judged_as_reading(
    world: World, clients: dict[str, Client]
) -> None:
    """OPTIONS and HEAD, which clients send of themselves, for those who know of nothing."""
    faults = {}
    for (method, route), row in ROWS.items():
        if method == "GET" and route != "logout/":
            for kind in ("nobody", "stranger", "stranger's key"):
                options, head, get = (ask(clients[kind], verb, row, world) for verb in ("OPTIONS", "HEAD", "GET"))
                if world.marker in options.text.replace(fill(row.url, world), "") or options.status >= 500:
                    faults["OPTIONS", route, kind] = options.status
                if head.status != get.status:
                    faults["HEAD", route, kind] = head.status
    assert faults == {}
