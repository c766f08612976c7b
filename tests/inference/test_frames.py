"""The pictures that the live socket names: who may open them, and with what."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client
from django.urls import reverse

from accounts import tokens
from accounts.choices import Role
from accounts.models import User
from collections_app.models import Collection
from core.redis import engine_redis
from inference.engine import keys
from tests.factories import ApiKeyFactory, CollectionFactory, MembershipFactory
from tests.inference.conftest import jpeg

pytestmark = pytest.mark.django_db


@pytest.fixture
def collection() -> Collection:
    return CollectionFactory(cameras=["base"])


@pytest.fixture
def viewer(collection: Collection) -> User:
    return MembershipFactory(collection=collection, role=Role.VIEWER).user


@pytest.fixture
def request_id(collection: Collection) -> uuid.UUID:
    """A step that a camera's picture is at hand of, and no record yet."""
    request_id = uuid.uuid4()
    engine_redis().set(keys.frame(collection.pk, request_id, "base"), jpeg())
    return request_id


def url(collection: Collection, request_id: uuid.UUID, camera: str = "base") -> str:
    return reverse("live-frame", args=[collection.slug, request_id, camera])


def test_a_picture_opens_with_a_session_a_token_and_a_key(
    collection: Collection, viewer: User, request_id: uuid.UUID
) -> None:
    session = Client()
    session.force_login(viewer)
    key = ApiKeyFactory(scopes=["data:read"], collections=[collection])
    for client, headers in (
        (session, {}),
        (Client(), {"Authorization": f"Bearer {tokens.issue(user=viewer, ip_address=None).access}"}),
        (Client(), {"Authorization": f"Api-Key {key.token}"}),
    ):
        response = client.get(url(collection, request_id), headers={**headers, "Accept": "image/jpeg"})
        assert (response.status_code, response["Content-Type"], response.content) == (200, "image/jpeg", jpeg())


def test_nobody_opens_a_picture_of_a_collection_that_he_may_not_see(
    collection: Collection, viewer: User, request_id: uuid.UUID
) -> None:
    assert Client().get(url(collection, request_id)).status_code == 401
    elsewhere = MembershipFactory(role=Role.MANAGER)
    stranger = Client()
    stranger.force_login(elsewhere.user)
    assert stranger.get(url(collection, request_id)).status_code == 404
    # Nor by the name of a collection that he may see.
    assert stranger.get(url(elsewhere.collection, request_id)).status_code == 404
