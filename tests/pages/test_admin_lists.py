"""The admin's lists turn by key, and are taken along as CSV by those who may see them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.choices import Role
from accounts.models import AuditLog, User
from core.admin import ModelAdmin
from core.csv_lines import harmless, plain
from tests.factories import (
    CollectionFactory,
    EpisodeFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    RobotFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

EPISODES = reverse("admin:collections_app_episode_changelist")
PEOPLE = reverse("admin:accounts_user_changelist")
RESULTS = reverse("admin:inference_inferenceresult_changelist")


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(UserFactory(username="root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def three_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelAdmin, "list_per_page", 3)


def turned(client: Client, path: str, query: str, link: str) -> Iterator[list[Any]]:
    """The rows of one page after another, as long as there is a ``link`` to one."""
    while True:
        shown = client.get(path + query).context["cl"]
        yield [row.pk for row in shown.result_list]
        query = getattr(shown, link)
        if not query:
            return


@pytest.mark.parametrize("order", ["", "?o=6", "?o=-6", "?o=7", "?o=-5.6", "?outcome__exact=failure&o=-6"])
def test_pages_follow_without_gap_or_repeat_in_any_order_and_lead_back(
    root: Client, three_a_page: None, order: str
) -> None:
    collection, moment = CollectionFactory(), timezone.now()
    for n in range(11):  # steps and moments that several share
        EpisodeFactory(
            collection=collection, outcome="failure", step_count=n // 3, started_at=moment - timedelta(minutes=n // 4)
        )
    forward = list(turned(root, EPISODES, order, "next"))
    assert [len(page) for page in forward] == [3, 3, 3, 2]
    assert len({pk for page in forward for pk in page}) == 11
    with CaptureQueriesContext(connection) as queries:
        last = root.get(EPISODES + order).context["cl"]
        for _ in range(3):
            last = root.get(EPISODES + last.next).context["cl"]
    assert [sql for query in queries if "OFFSET" in (sql := query["sql"])] == []
    back = list(turned(root, EPISODES, last.previous, "previous"))
    assert back[::-1] == forward[:-1]


@pytest.mark.parametrize("order", ["?o=7", "?o=-7"])
def test_rows_without_a_value_have_their_place_among_the_pages(root: Client, three_a_page: None, order: str) -> None:
    """People who never logged in: PostgreSQL sorts them after all others, or before."""
    for n in range(7):
        UserFactory(last_login=None if n % 2 else timezone.now() - timedelta(days=n))
    forward = list(turned(root, PEOPLE, order, "next"))
    assert sorted(pk for page in forward for pk in page) == sorted(User.objects.values_list("pk", flat=True))


def test_a_list_sorted_by_another_table_turns_by_numbers(root: Client, three_a_page: None) -> None:
    for _ in range(4):
        EpisodeFactory()
    shown = root.get(EPISODES, {"o": "2", "p": "2"}).context["cl"]
    assert len(shown.result_list) == 1
    assert not shown.next


@pytest.mark.parametrize("cursor", ["x", "%00", "W10", "WyJ4IiwieCJd", "eyJhIjoxfQ"])
def test_a_made_up_place_leads_to_the_first_page(root: Client, cursor: str) -> None:
    EpisodeFactory()
    response = root.get(f"{EPISODES}?after={cursor}", follow=True)
    assert response.status_code == 200
    assert len(response.context["cl"].result_list) == 1


def test_nobody_acts_on_more_rows_than_were_counted(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    path = reverse("admin:feedback_feedbacktask_changelist")
    for _ in range(3):
        FeedbackTaskFactory()
    monkeypatch.setattr(ModelAdmin, "list_per_page", 2)
    assert "across all pages" in root.get(path).content.decode()
    monkeypatch.setattr(ModelAdmin.paginator, "cap", 3)
    assert "across all pages" not in root.get(path).content.decode()


def lines(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    assert "attachment" in response["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_a_list_is_taken_along_as_it_is_filtered_exactly_and_harmlessly(root: Client) -> None:
    wanted = InferenceResultFactory(safety_verdict="rejected", output_actions=[], instruction="=HYPERLINK(1)")
    InferenceResultFactory()
    link = root.get(RESULTS, {"safety_verdict__exact": "rejected"}).context["cl"].csv
    (row,) = lines(root.get(RESULTS + link))
    assert row["id"] == str(wanted.pk)
    assert row["Instruction"] == "'=HYPERLINK(1)"
    assert row["When"] == wanted.created_at.isoformat()
    assert row["Collection"] == str(wanted.collection)
    entry = AuditLog.objects.get(action="inferenceresult.downloaded")
    assert entry.actor_name == "root"
    assert entry.changes["query"][1] == {"safety_verdict__exact": "rejected"}


def test_a_list_as_csv_holds_what_its_reader_may_see_and_no_more_queries_with_more_rows() -> None:
    member = MembershipFactory(user__is_staff=True, role=Role.VIEWER)
    EpisodeFactory()
    client = Client()
    client.force_login(member.user)
    counts = []
    for expected in (2, 4):
        for _ in range(2):
            EpisodeFactory(collection=member.collection)
        with CaptureQueriesContext(connection) as queries:
            assert len(lines(client.get(f"{EPISODES}csv/"))) == expected
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert client.get(f"{PEOPLE}csv/").status_code == 403


@pytest.mark.parametrize("text", ["=1", "plain", "'quoted", "'=1", "", "-3", "ＡＢ"])
def test_what_was_made_harmless_reads_back(text: str) -> None:
    assert plain(harmless(text)) == (text if text != "'=1" else "=1")


@pytest.mark.parametrize("page", ["collections_app_robot_change", "collections_app_collection_change"])
def test_a_moment_in_a_form_or_an_inline_is_local_and_keeps_utc_in_its_title(root: Client, page: str) -> None:
    robot: Any = RobotFactory(last_seen_at=datetime(2026, 11, 1, 12, 30, 15, tzinfo=UTC))
    row = robot if "robot" in page else robot.collection
    text = root.get(reverse(f"admin:{page}", args=[row.pk])).content.decode()
    assert 'data-time="exact" title="2026-11-01 12:30:15 UTC"' in text
