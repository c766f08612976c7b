from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.choices import Role
from accounts.models import AuditLog
from collections_app.models import Collection
from tests.factories import ApiKeyFactory, EpisodeFactory, MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db

SPACE = {
    "name": "new arm",
    "control_rate_hz": 10.0,
    "state_names": ["joint_0"],
    "dimensions": [{"name": "x", "unit": "m", "kind": "position", "low": -1.0, "high": 1.0}, {"name": "gripper"}],
}
NEW = {"slug": "kitchen", "name": "Kitchen", "action_space": SPACE, "cameras": ["base"], "horizon": 4}


def client_of(user: Any = None, key: Any = None) -> APIClient:
    client = APIClient()
    if key is not None:
        client.credentials(HTTP_AUTHORIZATION=f"Api-Key {key.token}")
    if user is not None:
        client.force_authenticate(user)
    return client


def pointers(response: Any) -> list[str]:
    return [error["pointer"] for error in response.json()["errors"]]


def test_creating_a_collection_makes_its_action_space_and_its_creator_the_manager() -> None:
    admin = UserFactory(is_staff=True, is_superuser=True)
    response = client_of(admin).post("/api/v1/collections", NEW, format="json")
    assert response.status_code == 201, response.json()
    assert response["Location"] == "/api/v1/collections/kitchen"
    collection = Collection.objects.get(slug="kitchen")
    assert [d.name for d in collection.action_space.dimensions.all()] == ["x", "gripper"]
    assert collection.memberships.get().role == Role.MANAGER
    actions = list(AuditLog.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["action_space.created", "collection.created", "membership.added"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"cameras": ["base", "base"]}, "/cameras"),
        ({"cameras": []}, "/cameras"),
        ({"cameras": ["no spaces"]}, "/cameras/0"),
        ({"observation_mapping": {"cameras": {"wrist": "observation/wrist"}}}, "/observation_mapping"),
        ({"observation_mapping": {"joints": "x"}}, "/observation_mapping"),
        ({"horizon": 0}, "/horizon"),
        ({"safety_mode": "hope"}, "/safety_mode"),
        ({"slug": "no spaces"}, "/slug"),
        ({"owner": "me"}, "/owner"),
        ({"action_space": "nobody's"}, "/action_space"),
        ({"action_space": {**SPACE, "dimensions": []}}, "/action_space/dimensions"),
        (
            {"action_space": {**SPACE, "dimensions": [{"name": "x", "low": 2.0, "high": 1.0}]}},
            "/action_space/dimensions/0",
        ),
        ({"action_space": {**SPACE, "state_units": ["m", "m"]}}, "/action_space/state_units"),
        ({"action_space": {**SPACE, "state_limits": {"elbow": [0, 1]}}}, "/action_space/state_limits"),
        ({"action_space": {**SPACE, "state_limits": {"joint_0": [1, 0]}}}, "/action_space/state_limits"),
        ({"action_space": {**SPACE, "state_limits": {"joint_0": [0]}}}, "/action_space/state_limits/joint_0"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_created(change: dict[str, Any], pointer: str) -> None:
    admin = UserFactory(is_staff=True, is_superuser=True)
    response = client_of(admin).post("/api/v1/collections", {**NEW, **change}, format="json")
    assert response.status_code == 400
    assert pointer in pointers(response)
    assert not Collection.objects.exists()
    assert not AuditLog.objects.exists()


def test_limits_of_the_state_are_kept_and_read() -> None:
    admin = client_of(UserFactory(is_staff=True, is_superuser=True))
    space = {**SPACE, "state_limits": {"joint_0": [-2.9, None]}}
    response = admin.post("/api/v1/collections", {**NEW, "action_space": space}, format="json")
    assert response.status_code == 201, response.json()
    read = admin.get("/api/v1/collections/kitchen").json()
    assert read["action_space"]["state_limits"] == {"joint_0": [-2.9, None]}


def test_a_manager_changes_rules_and_the_audit_trail_holds_before_and_after() -> None:
    membership = MembershipFactory(role=Role.MANAGER)
    url = f"/api/v1/collections/{membership.collection.slug}"
    response = client_of(membership.user).patch(url, {"horizon": 16, "archived": True}, format="json")
    assert response.status_code == 200
    assert response.json()["horizon"] == 16
    assert response.json()["archived"] is True
    entry = AuditLog.objects.get(action="collection.updated")
    assert entry.changes["horizon"] == [8, 16]
    assert entry.collection_id == membership.collection.pk


def test_the_slug_and_the_action_space_cannot_be_changed() -> None:
    membership = MembershipFactory(role=Role.MANAGER)
    url = f"/api/v1/collections/{membership.collection.slug}"
    response = client_of(membership.user).patch(url, {"slug": "other", "action_space": SPACE}, format="json")
    assert response.status_code == 400
    assert pointers(response) == ["/slug", "/action_space"]


def test_a_stranger_sees_no_collection_and_a_viewer_may_not_change_one() -> None:
    membership = MembershipFactory(role=Role.VIEWER)
    url = f"/api/v1/collections/{membership.collection.slug}"
    stranger = client_of(UserFactory())
    assert stranger.get("/api/v1/collections").json()["results"] == []
    assert stranger.get(url).status_code == 404
    assert stranger.patch(url, {"name": "x"}, format="json").status_code == 404
    viewer = client_of(membership.user)
    assert viewer.get(url).status_code == 200
    assert viewer.patch(url, {"name": "x"}, format="json").status_code == 403


def test_staff_without_the_permission_may_not_create_collections() -> None:
    response = client_of(UserFactory(is_staff=True)).post("/api/v1/collections", NEW, format="json")
    assert response.status_code == 403


def test_the_collections_list_costs_the_same_queries_however_many_there_are(
    django_assert_max_num_queries: Any,
) -> None:
    user = UserFactory()
    for _ in range(5):
        MembershipFactory(user=user)
    client = client_of(user)
    with django_assert_max_num_queries(2):
        assert len(client.get("/api/v1/collections").json()["results"]) == 5


def test_a_robot_sets_the_outcome_of_an_episode_of_its_collection() -> None:
    episode = EpisodeFactory()
    key = ApiKeyFactory(collections=[episode.collection])
    found = client_of(key=key).get(f"/api/v1/episodes?external_id={episode.external_id}").json()["results"]
    url = f"/api/v1/episodes/{found[0]['id']}"
    response = client_of(key=key).patch(url, {"outcome": "success", "tags": ["red"]}, format="json")
    assert response.status_code == 200, response.json()
    assert response.json()["outcome"] == "success"
    entry = AuditLog.objects.get(action="episode.updated")
    assert entry.actor_id == key.pk
    assert entry.changes == {"outcome": ["", "success"], "tags": [[], ["red"]]}


def test_an_annotator_may_tag_an_episode_and_a_viewer_may_not() -> None:
    episode = EpisodeFactory()
    url = f"/api/v1/episodes/{episode.pk}"
    annotator = MembershipFactory(collection=episode.collection, role=Role.ANNOTATOR).user
    viewer = MembershipFactory(collection=episode.collection, role=Role.VIEWER).user
    assert client_of(annotator).patch(url, {"tags": ["a"]}, format="json").status_code == 200
    assert client_of(viewer).patch(url, {"tags": ["b"]}, format="json").status_code == 403
    assert client_of(UserFactory()).patch(url, {"tags": ["b"]}, format="json").status_code == 404


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"one", "two"}),
        ("outcome=success", {"one"}),
        ("tag=red", {"one"}),
        ("external_id=two", {"two"}),
        ("created_after=2100-01-01T00:00:00Z", set()),
    ],
)
def test_episodes_are_filtered(query: str, found: set[str]) -> None:
    membership = MembershipFactory()
    collection = membership.collection
    EpisodeFactory(collection=collection, robot=None, external_id="one", outcome="success", tags=["red", "cube"])
    EpisodeFactory(collection=collection, robot=None, external_id="two")
    EpisodeFactory(external_id="of another collection")
    response = client_of(membership.user).get(f"/api/v1/episodes?{query}")
    assert {episode["external_id"] for episode in response.json()["results"]} == found


@pytest.mark.parametrize(
    "query", ["collection__memberships__user__password__startswith=a", "colection=x", "outcome=no"]
)
def test_an_unknown_or_wrong_filter_is_refused(query: str) -> None:
    response = client_of(MembershipFactory().user).get(f"/api/v1/episodes?{query}")
    assert response.status_code == 400
    assert pointers(response) == ["/" + query.split("=")[0]]
