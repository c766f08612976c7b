"""The sockets and the robots' own routes, which do not pass Django, walked by everybody who could ask.

The routes come from the routing tables: one without a row fails. Nothing serves a policy here, so whoever may ask a
robot's route is told that none is active.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from accounts import tokens
from accounts.choices import SCOPES, Permission, Role
from accounts.models import User
from collections_app.models import Collection
from inference.engine.gateway import gateway
from inference.routing import websocket_urlpatterns
from tests.factories import ApiKeyFactory, CollectionFactory, MembershipFactory, UserFactory
from tests.inference.conftest import observation
from tests.inference.robot_api.test_act import OPENVLA
from tests.inference.sockets import Socket
from tests.security.test_access_matrix import READ, holding
from tests.security.world import EVERYBODY, KEYS, OUTSIDERS, ROLES
from vla_project import asgi

pytestmark = pytest.mark.django_db(transaction=True)

WRITE = holding(Permission.INFERENCE_WRITE)
NO_ACTIVE_POLICY = 503
# Who may, and with what those are closed who are strangers to the collection, or members without the permission.
SOCKETS = {
    "ws/inference": ("/ws/inference?collection={slug}", READ, 4403, 4403),
    r"^ws/policy/(?P<slug>[-\w]{1,64})/?$": ("/ws/policy/{slug}", WRITE, 4404, 4403),
}
ROBOT_ROUTES = {("POST", "/api/v1/inference"): WRITE, ("POST", "/act"): WRITE}


@pytest.fixture
def collection() -> Collection:
    return CollectionFactory()


@pytest.fixture
async def credentials(collection: Collection) -> AsyncIterator[dict[str, dict[str, str]]]:
    """Everybody's ``Authorization`` header, and for people their session's cookie too."""
    yield await sync_to_async(_credentials)(collection)
    await gateway().close()


def _credentials(collection: Collection) -> dict[str, dict[str, str]]:
    people: dict[str, User] = {
        kind: MembershipFactory(collection=collection, role=role).user for kind, role in ROLES.items()
    }
    people["superuser"] = UserFactory(is_superuser=True)
    people["stranger"] = MembershipFactory(role=Role.MANAGER).user
    found: dict[str, dict[str, str]] = {"nobody": {}}
    for kind, person in people.items():
        browser = Client()
        browser.force_login(person)
        token = tokens.issue(user=person, ip_address=None).access
        found[kind] = {"bearer": f"Bearer {token}", "cookie": f"sessionid={browser.cookies['sessionid'].value}"}
    for kind, scope in KEYS.items():
        key = ApiKeyFactory(scopes=[scope.value], collections=[collection])
        found[kind] = {"bearer": f"Api-Key {key.token}"}
    key = ApiKeyFactory(scopes=[scope.value for scope in SCOPES], collections=[CollectionFactory()])
    found["stranger's key"] = {"bearer": f"Api-Key {key.token}"}
    assert set(found) == set(EVERYBODY)
    return found


def test_every_socket_and_every_robots_route_has_a_row() -> None:
    assert {str(entry.pattern) for entry in websocket_urlpatterns} == set(SOCKETS), "Say in SOCKETS who may use it."
    assert set(asgi._ROBOT_ROUTES) == set(ROBOT_ROUTES), "Say in ROBOT_ROUTES who may use it."


async def outcome(url: str, **how: Any) -> int:
    """0 where the socket says something, else the code with which it is closed; 403 where the handshake is refused."""
    socket = Socket(url, **how)
    accepted, code = await socket.connect(timeout=10)
    if not accepted:
        return 403 if code is None or code == 1000 else int(code)
    message = await socket.receive_output(timeout=10)
    await socket.disconnect()
    return int(message["code"]) if message["type"] == "websocket.close" else 0


@pytest.mark.parametrize("route", SOCKETS)
async def test_each_caller_of_a_socket_is_answered_what_the_row_says(
    route: str, collection: Collection, credentials: dict[str, dict[str, str]]
) -> None:
    template, allowed, stranger, member = SOCKETS[route]
    url = template.format(slug=collection.slug)
    faults = {}
    for kind, held in credentials.items():
        expected = 4401 if not held else 0 if kind in allowed else stranger if kind in OUTSIDERS else member
        code = await outcome(url, authorization=held.get("bearer", ""))
        if code != expected:
            faults[kind, "header"] = (code, expected)
        if "cookie" in held:
            by_cookie = expected if route == "ws/inference" else 4401  # no page can drive a robot
            code = await outcome(url, cookie=held["cookie"])
            if code != by_cookie:
                faults[kind, "cookie"] = (code, by_cookie)
    assert faults == {}


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "http://testserver.evil.example",
        "http://evil.example/testserver",
        "http://testserver:8001",
        "https://testserver@evil.example",
        "file://testserver",
    ],
)
async def test_a_session_opens_no_socket_for_another_page(
    origin: str | None, collection: Collection, credentials: dict[str, dict[str, str]]
) -> None:
    url = f"/ws/inference?collection={collection.slug}"
    assert await outcome(url, cookie=credentials["manager"]["cookie"], origin=origin) == 403


async def test_a_session_opens_a_socket_for_our_own_page(
    collection: Collection, credentials: dict[str, dict[str, str]], settings: Any
) -> None:
    url, cookie = f"/ws/inference?collection={collection.slug}", credentials["manager"]["cookie"]
    assert await outcome(url, cookie=cookie, origin="https://testserver") == 0
    settings.CSRF_TRUSTED_ORIGINS = ["https://dashboards.example.org"]
    assert await outcome(url, cookie=cookie, origin="https://dashboards.example.org") == 0


@pytest.mark.parametrize("route", [path for _method, path in ROBOT_ROUTES])
async def test_each_caller_of_a_robots_route_is_answered_what_the_row_says(
    route: str, collection: Collection, credentials: dict[str, dict[str, str]]
) -> None:
    body = observation(collection) if route == "/api/v1/inference" else {**OPENVLA, "collection": collection.slug}
    transport = httpx.ASGITransport(app=asgi.application, raise_app_exceptions=False)
    faults = {}
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        for kind, held in credentials.items():
            allowed = kind in ROBOT_ROUTES["POST", route]
            expected = 401 if not held else NO_ACTIVE_POLICY if allowed else 404 if kind in OUTSIDERS else 403
            headers = {"Authorization": held["bearer"]} if held else {}
            response = await client.post(route, json=body, headers=headers)
            if response.status_code != expected:
                faults[kind] = (response.status_code, expected)
            if "cookie" in held:  # no other site's form can make a browser drive a robot
                forged = await client.post(route, json=body, headers={"Cookie": held["cookie"]})
                if forged.status_code != 401:
                    faults[kind, "cookie"] = (forged.status_code, 401)
    assert faults == {}
