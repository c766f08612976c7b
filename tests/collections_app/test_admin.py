"""Every change in the admin goes through a service: the row and the audit entry are both asserted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.choices import Role
from accounts.models import ApiKey, AuditLog, User
from accounts.verification import ChainHead, verify_chain
from collections_app.models import ActionSpace, ApiKeyGrant, Collection, Episode, Membership
from tests.factories import (
    ActionSpaceFactory,
    ApiKeyFactory,
    CollectionFactory,
    EpisodeFactory,
    MembershipFactory,
    RobotFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(UserFactory(is_staff=True, is_superuser=True))
    return client


def staff(role: Role, collection: Collection) -> tuple[Client, User]:
    user = MembershipFactory(user__is_staff=True, collection=collection, role=role).user
    client = Client()
    client.force_login(user)
    return client, user


def form_of(response: Any, **changes: Any) -> dict[str, Any]:
    """What a browser would send back of the change form in ``response``, with ``changes``."""
    assert response.status_code == 200, response
    context = response.context
    forms = [context["adminform"].form]
    for wrapped in context["inline_admin_formsets"]:
        forms += [wrapped.formset.management_form, *wrapped.formset.forms]
    data: dict[str, Any] = {}
    for form in forms:
        for bound in form:
            value = bound.value()
            if value is not None and not bound.field.disabled:
                data[bound.html_name] = value
    return {name: value for name, value in {**data, **changes}.items() if value is not None}


def save(client: Client, url: str, **changes: Any) -> Any:
    return client.post(url, form_of(client.get(url), **changes))


def errors(response: Any) -> str:
    return " ".join(re.findall(r'<ul class="errorlist[^>]*>(.*?)</ul>', response.content.decode(), re.S))


def actions() -> list[str]:
    return list(AuditLog.objects.exclude(action__startswith="user.").order_by("id").values_list("action", flat=True))


def change_url(instance: Any) -> str:
    return reverse(f"admin:{instance._meta.app_label}_{instance._meta.model_name}_change", args=[instance.pk])


def test_a_collection_is_created_with_its_creator_as_manager(admin: Client) -> None:
    url = reverse("admin:collections_app_collection_add")
    space = ActionSpaceFactory()
    response = save(admin, url, slug="kitchen", name="Kitchen", action_space=str(space.pk), cameras="base,wrist")
    assert response.status_code == 302, errors(response)
    assert Membership.objects.get(collection__slug="kitchen").role == Role.MANAGER
    assert actions() == ["collection.created", "membership.added"]


def test_a_collection_is_changed_and_its_slug_is_not(admin: Client) -> None:
    collection = CollectionFactory()
    response = save(admin, change_url(collection), name="Renamed", slug="renamed")
    assert response.status_code == 302, errors(response)
    collection.refresh_from_db()
    assert (collection.name, collection.slug) != ("Renamed", "renamed")
    assert collection.name == "Renamed"
    assert AuditLog.objects.get(action="collection.updated").changes.keys() == {"name"}


def test_members_keys_and_robots_are_managed_beside_their_collection(admin: Client) -> None:
    collection = CollectionFactory()
    member = MembershipFactory(collection=collection)
    leaving = MembershipFactory(collection=collection)
    robot, key, newcomer = RobotFactory(collection=collection), ApiKeyFactory(), UserFactory()
    response = save(
        admin,
        change_url(collection),
        **{
            "memberships-TOTAL_FORMS": 3,
            "memberships-0-role": Role.REVIEWER,
            "memberships-1-DELETE": "on",
            "memberships-2-collection": str(collection.pk),
            "memberships-2-user": str(newcomer.pk),
            "memberships-2-role": Role.ANNOTATOR,
            "key_grants-TOTAL_FORMS": 1,
            "key_grants-0-collection": str(collection.pk),
            "key_grants-0-api_key": str(key.pk),
            "robots-0-description": "on the left bench",
        },
    )
    assert response.status_code == 302, errors(response)
    roles = dict(Membership.objects.filter(collection=collection).values_list("user", "role"))
    assert roles == {member.user.pk: Role.REVIEWER, newcomer.pk: Role.ANNOTATOR}
    assert leaving.user.pk not in roles
    assert ApiKeyGrant.objects.get().api_key == key
    robot.refresh_from_db()
    assert robot.description == "on the left bench"
    assert sorted(actions()) == [
        "api_key.granted",
        "membership.added",
        "membership.changed",
        "membership.removed",
        "robot.described",
    ]


def test_an_action_space_is_created_with_its_dimensions_in_order(admin: Client) -> None:
    url = reverse("admin:collections_app_actionspace_add")
    response = save(
        admin,
        url,
        name="two joints",
        control_rate_hz="20",
        state_names="a,b",
        **{
            "dimensions-TOTAL_FORMS": 2,
            "dimensions-0-position": 1,
            "dimensions-0-name": "second",
            "dimensions-0-kind": "joint",
            "dimensions-1-position": 0,
            "dimensions-1-name": "first",
            "dimensions-1-kind": "joint",
            "dimensions-1-low": "-1",
            "dimensions-1-high": "1",
        },
    )
    assert response.status_code == 302, errors(response)
    space = ActionSpace.objects.get()
    assert list(space.dimensions.values_list("position", "name", "low")) == [(0, "first", -1.0), (1, "second", None)]
    assert actions() == ["action_space.created"]


def test_limits_of_an_action_space_in_use_change_and_its_shape_does_not(admin: Client) -> None:
    space = CollectionFactory().action_space
    response = save(admin, change_url(space), **{"dimensions-0-high": "0.4"})
    assert response.status_code == 302, errors(response)
    assert space.dimensions.get(name="x").high == 0.4
    changes = AuditLog.objects.get(action="action_space.updated").changes["dimensions"]
    assert [spec[0]["high"] for spec in changes] == [0.5, 0.4]
    response = save(admin, change_url(space), state_limits='{"joint_0": [-2.9, 2.9]}')
    assert response.status_code == 302, errors(response)
    refused = save(admin, change_url(space), state_limits='{"elbow": [-2.9, 2.9]}')
    assert "no entry" in errors(refused)
    emptied = {"initial-state_limits": '{"joint_0": [-2.9, 2.9]}', "state_limits": ""}
    response = save(admin, change_url(space), **emptied)
    assert response.status_code == 302, errors(response)
    assert [
        row.changes["state_limits"] for row in AuditLog.objects.filter(changes__has_key="state_limits").order_by("id")
    ] == [
        [{}, {"joint_0": [-2.9, 2.9]}],
        [{"joint_0": [-2.9, 2.9]}, {}],
    ]
    refused = save(admin, change_url(space), **{"dimensions-6-DELETE": "on"})
    assert "its dimensions are fixed" in refused.content.decode()
    refused = save(admin, change_url(space), state_names="a,b")
    assert "its state is fixed" in errors(refused)
    assert space.dimensions.count() == 7


def test_an_episodes_outcome_is_set_and_nothing_else_of_it(admin: Client) -> None:
    episode = EpisodeFactory()
    response = save(admin, change_url(episode), outcome="failure", external_id="forged")
    assert response.status_code == 302, errors(response)
    assert Episode.objects.get().outcome == "failure"
    assert Episode.objects.get().external_id == episode.external_id
    assert actions() == ["episode.updated"]


def test_a_new_key_is_shown_once_and_is_in_no_cookie_session_or_trail(admin: Client) -> None:
    collection = CollectionFactory()
    url = reverse("admin:accounts_apikey_add")
    response = save(
        admin, url, name="arm", scopes=["inference:write"], tier="standard", collections=[str(collection.pk)]
    )
    (token,) = re.findall(r"vla_\w{8}_[\w-]{43}", response.content.decode())
    assert "no-store" in response["Cache-Control"]
    assert Client().get("/api/v1/collections", HTTP_AUTHORIZATION=f"Api-Key {token}").status_code == 200
    secret = token.split("_", 2)[2]
    assert secret not in str(admin.cookies) + str(dict(admin.session))
    assert not any(secret in str(entry.changes) for entry in AuditLog.objects.all())
    assert secret not in str(ApiKey.objects.values())
    assert actions() == ["api_key.created", "api_key.granted"]


@pytest.mark.parametrize("action", ["revoke", "rotate"])
def test_keys_are_revoked_and_rotated(admin: Client, action: str) -> None:
    key = ApiKeyFactory(collections=[CollectionFactory()])
    response = admin.post(
        reverse("admin:accounts_apikey_changelist"), {"action": action, "_selected_action": [str(key.pk)]}
    )
    key.refresh_from_db()
    if action == "revoke":
        assert key.revoked_at is not None
        assert actions() == ["api_key.revoked"]
    else:
        new = ApiKey.objects.exclude(pk=key.pk).get()
        assert re.search(rf"vla_{new.public_id}_", response.content.decode())
        assert new.grants.get().collection == key.grants.get().collection
        assert actions() == ["api_key.created", "api_key.granted", "api_key.rotated"]


def test_a_manager_sees_and_grants_only_keys_of_their_own_collections() -> None:
    collection = CollectionFactory()
    client, _user = staff(Role.MANAGER, collection)
    own, shared = ApiKeyFactory(collections=[collection]), ApiKeyFactory(collections=[collection, CollectionFactory()])
    foreign = ApiKeyFactory(collections=[CollectionFactory()])
    assert client.get(change_url(own)).status_code == 200
    for key in (shared, foreign):
        assert client.get(change_url(key)).status_code == 302  # to the list, as Django does for what is not there
    response = save(
        client,
        change_url(collection),
        **{
            "key_grants-TOTAL_FORMS": 3,
            "key_grants-2-collection": str(collection.pk),
            "key_grants-2-api_key": str(foreign.pk),
        },
    )
    assert "not one of the available choices" in errors(response)
    url = reverse("admin:accounts_apikey_add")
    other = CollectionFactory()
    response = save(client, url, name="x", scopes=["data:read"], tier="standard", collections=[str(other.pk)])
    assert "not one of the available choices" in errors(response)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANNOTATOR, Role.REVIEWER, Role.AUDITOR])
def test_staff_who_do_not_manage_a_collection_look_and_change_nothing(role: Role) -> None:
    collection, other = CollectionFactory(), CollectionFactory()
    client, user = staff(role, collection)
    response = client.get(change_url(collection))
    assert response.status_code == 200
    assert "adminform" in response.context
    assert response.context["has_change_permission"] is False
    assert client.post(change_url(collection), {"name": "x"}).status_code == 403
    assert client.get(change_url(other)).status_code == 302
    listed = client.get(reverse("admin:collections_app_collection_changelist")).context["cl"].queryset
    assert list(listed) == [collection]
    assert Membership.objects.get(user=user).role == role


def test_auditors_read_the_trail_of_their_collections_and_nobody_edits_it(admin: Client) -> None:
    audited, other = CollectionFactory(), CollectionFactory()
    for collection in (audited, other):
        save(admin, change_url(collection), name="Renamed")
    client, _user = staff(Role.AUDITOR, audited)
    url = reverse("admin:accounts_auditlog_changelist")
    assert [entry.collection_id for entry in client.get(url).context["cl"].queryset] == [audited.pk]
    entry = AuditLog.objects.get(collection_id=audited.pk)
    assert "Renamed" in client.get(change_url(entry)).content.decode()
    for reader in (client, admin):
        assert reader.post(change_url(entry), {"action": "x"}).status_code == 403
        assert reader.post(url.replace("auditlog/", f"auditlog/{entry.pk}/delete/"), {"post": "yes"}).status_code == 403
    assert staff(Role.MANAGER, audited)[0].get(url).status_code == 403


def test_the_trail_is_searched_and_filtered_without_counting_the_table(
    admin: Client, django_assert_max_num_queries: Any
) -> None:
    collection = CollectionFactory()
    for name in ("one", "two", "three"):
        save(admin, change_url(collection), name=name)
    url = reverse("admin:accounts_auditlog_changelist")
    assert len(admin.get(url, {"q": "collection.updated"}).context["cl"].queryset) == 3
    assert len(admin.get(url, {"resource_type": "apikey"}).context["cl"].queryset) == 0
    with django_assert_max_num_queries(11):  # five of them write down that it was read
        admin.get(url)


def test_reading_of_people_and_of_the_trail_is_in_the_trail(admin: Client) -> None:
    grace = UserFactory(username="grace")
    admin.get(reverse("admin:accounts_user_changelist"), {"q": "gra"})
    admin.get(change_url(grace))
    admin.get(reverse("admin:accounts_tokenfamily_changelist"))
    admin.get(reverse("admin:accounts_auditlog_changelist"), {"q": "grace"})
    admin.get(change_url(AuditLog.objects.get(action="user.viewed")))
    read = AuditLog.objects.filter(action__regex="(listed|viewed)$").order_by("id")
    assert [(entry.action, entry.resource_type) for entry in read] == [
        ("user.listed", "user"),
        ("user.viewed", "user"),
        ("tokenfamily.listed", "tokenfamily"),
        ("auditlog.listed", "auditlog"),
        ("auditlog.viewed", "auditlog"),
    ]
    assert read[0].changes == {"query": [None, {"q": "gra"}]}
    assert (read[1].resource_id, read[1].resource_name) == (grace.pk, "grace")
    assert {entry.actor_name for entry in read} == {User.objects.get(is_superuser=True).username}
    assert isinstance(verify_chain(), ChainHead)


PAYLOAD = "<img src=x onerror=alert(1)>"


def test_text_from_outside_is_text_in_every_admin_page(admin: Client) -> None:
    episode = EpisodeFactory(external_id=PAYLOAD, instruction=PAYLOAD, tags=[PAYLOAD])
    episode.collection.name = episode.robot.name = PAYLOAD
    episode.collection.save()
    episode.robot.save()
    save(admin, change_url(episode), outcome="success")
    entry = AuditLog.objects.get(action="episode.updated")
    for thing in (episode, episode.collection, episode.robot, entry):
        listed = reverse(f"admin:{thing._meta.app_label}_{thing._meta.model_name}_changelist")
        for url in (listed, change_url(thing)):
            assert PAYLOAD not in admin.get(url).content.decode(), url


def test_staff_cannot_raise_themselves_nor_touch_a_superuser(admin: Client) -> None:
    from django.contrib.auth.models import Permission

    user = UserFactory(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    superuser = UserFactory(is_superuser=True)
    client = Client()
    client.force_login(user)
    save(client, change_url(user), is_superuser="on", first_name="Ada")
    user.refresh_from_db()
    assert user.first_name == "Ada"
    assert user.is_superuser is False
    assert client.post(change_url(superuser), {"is_active": ""}).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[superuser.pk])
    new = "a much longer password 7"
    assert client.post(password, {"password1": new, "password2": new}).status_code == 403
    client.post(
        reverse("admin:accounts_user_changelist"),
        {"action": "remove_second_factor", "_selected_action": [str(superuser.pk)]},
    )
    superuser.refresh_from_db()
    assert superuser.is_active
    assert not superuser.check_password(new)
    assert superuser.sessions_epoch == 0


def test_a_superuser_creates_staff_and_looking_at_a_person_is_in_the_trail(admin: Client) -> None:
    password = "a much longer password 7"
    url = reverse("admin:accounts_user_add")
    response = save(admin, url, username="grace", password1=password, password2=password, usable_password="true")
    assert response.status_code == 302, errors(response)
    grace = User.objects.get(username="grace")
    assert grace.check_password(password)
    response = save(admin, change_url(grace), is_staff="on", email="grace@example.org")
    assert response.status_code == 302, errors(response)
    entries = AuditLog.objects.filter(resource_id=grace.pk).order_by("id")
    assert [entry.action for entry in entries] == [
        "user.created",
        "user.viewed",
        "user.updated",
        "user.logged_out_everywhere",
    ]
    assert entries[2].changes == {"is_staff": [False, True], "email": ["[encrypted]", "[encrypted]"]}
