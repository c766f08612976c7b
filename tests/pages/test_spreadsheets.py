"""Members and robots come in from a spreadsheet: looked at first, whole or not at all, through the audited services."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.choices import Role
from accounts.models import AuditLog
from collections_app.models import Membership, Robot
from tests.factories import MembershipFactory, RobotFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager() -> Membership:
    return MembershipFactory(role=Role.MANAGER, user__username="boss")


@pytest.fixture
def visitor(manager: Membership) -> Client:
    client = Client()
    client.force_login(manager.user)
    return client


def path(manager: Membership, kind: str) -> str:
    return f"/collections/{manager.collection.slug}/import/{kind}/"


def roles(manager: Membership) -> dict[str, str]:
    return dict(manager.collection.memberships.values_list("user__username", "role"))


def test_members_are_shown_before_they_are_taken_over_and_each_is_audited(visitor: Client, manager: Membership) -> None:
    for name in ("kim", "alex"):
        UserFactory(username=name)
    MembershipFactory(collection=manager.collection, user__username="lee", role=Role.VIEWER)
    text = "\ufeffRole;Username\nAnnotator;kim\nreviewer;lee\n\nmanager;boss\n"
    file = SimpleUploadedFile("members.csv", text.encode())
    shown = visitor.post(path(manager, "members"), {"file": file})
    plan = shown.context["plan"]
    assert [(line.number, line.change, line.before) for line in plan.lines] == [
        (2, "added", ""),
        (3, "changed", "viewer"),
        (5, "same", "manager"),
    ]
    assert roles(manager) == {"boss": "manager", "lee": "viewer"}
    answer = visitor.post(path(manager, "members"), {"text": shown.context["form"].cleaned_data["text"], "confirm": 1})
    assert answer.status_code == 302
    assert roles(manager) == {"boss": "manager", "kim": "annotator", "lee": "reviewer"}
    assert set(AuditLog.objects.filter(action__startswith="membership.").values_list("action", "actor_name")) == {
        ("membership.added", "boss"),
        ("membership.changed", "boss"),
    }


def test_one_wrong_line_stops_the_whole_file_and_is_named(visitor: Client, manager: Membership) -> None:
    UserFactory(username="kim")
    text = "username,role\nkim,viewer\nnobody,viewer\nkim,king\n"
    response = visitor.post(path(manager, "members"), {"text": text, "confirm": "1"})
    assert [(line.number, len(line.errors)) for line in response.context["plan"].faulty] == [(3, 1), (4, 2)]
    assert "Line 2 names this already." in response.content.decode()
    assert roles(manager) == {"boss": "manager"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"text": "name,description\narm,x"}, "username, role"),
        ({"text": "username,role\n" + "x,viewer\n" * 2001}, "At most 2000 lines"),
        ({"text": ""}, "Choose a file"),
        ({"file": SimpleUploadedFile("x.csv", b"\xff\xfe\x00")}, "UTF-8"),
    ],
)
def test_what_is_no_such_table_is_refused_in_words(
    visitor: Client, manager: Membership, body: dict[str, Any], told: str
) -> None:
    response = visitor.post(path(manager, "members"), body)
    assert response.status_code == 200
    assert told in response.content.decode()


def test_robots_are_registered_and_described_and_go_out_as_they_came(visitor: Client, manager: Membership) -> None:
    RobotFactory(collection=manager.collection, name="arm-1", description="old")
    text = 'name,description\r\narm-1,new\r\narm-2,"\'=cell 3, left"\r\n'
    assert visitor.post(path(manager, "robots"), {"text": text, "confirm": "1"}).status_code == 302
    found = dict(Robot.objects.filter(collection=manager.collection).values_list("name", "description"))
    assert found == {"arm-1": "new", "arm-2": "=cell 3, left"}
    assert AuditLog.objects.filter(action="robot.registered", actor_name="boss").count() == 1
    sent = b"".join(visitor.get(f"/collections/{manager.collection.slug}/?csv").streaming_content).decode()
    assert sent == text
    assert AuditLog.objects.filter(action="robot.downloaded", collection_id=manager.collection_id).count() == 1
    again = visitor.post(path(manager, "robots"), {"text": sent})
    assert again.context["plan"].changes == []


def test_a_name_that_no_robot_can_have_is_an_error_of_its_line(visitor: Client, manager: Membership) -> None:
    response = visitor.post(path(manager, "robots"), {"text": "name,description\n" + "x" * 65 + ",a\n,b\n"})
    assert [line.number for line in response.context["plan"].faulty] == [2, 3]


def test_only_managers_import(manager: Membership) -> None:
    viewer = Client()
    viewer.force_login(MembershipFactory(collection=manager.collection, role=Role.REVIEWER).user)
    assert viewer.get(path(manager, "members")).status_code == 403
    assert viewer.get(path(manager, "everything")).status_code == 404
