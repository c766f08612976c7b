"""What the tabs of a collection show and do."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.choices import Role
from accounts.models import AuditLog
from collections_app.models import Collection, Membership
from pipeline.models import Export, PipelineRun, RetentionRule, StoredObject
from tests.factories import (
    EpisodeFactory,
    FeedbackFactory,
    InferenceResultFactory,
    MembershipFactory,
    RobotFactory,
    UserFactory,
)
from tests.pages.conftest import NARROW, Visit
from vla_project.pages import selectors
from vla_project.pages.keyset import page_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager() -> Membership:
    return MembershipFactory(role=Role.MANAGER)


@pytest.fixture
def collection(manager: Membership) -> Collection:
    return manager.collection


@pytest.fixture
def visitor(manager: Membership) -> Client:
    client = Client()
    client.force_login(manager.user)
    return client


def shown_requests(response: Any) -> list[str]:
    return [str(result.request_id) for result, _ in response.context["rows"]]


def test_results_are_narrowed_by_verdict_robot_and_policy(visitor: Client, collection: Collection) -> None:
    robot = RobotFactory(collection=collection, name="arm-9")
    wanted = InferenceResultFactory(collection=collection, robot=robot, safety_verdict="clamped")
    InferenceResultFactory(collection=collection, robot=robot)
    InferenceResultFactory(collection=collection, safety_verdict="clamped")
    model = f"{wanted.model_name}@{wanted.model_version}"
    query = {"verdict": "clamped", "robot": "arm-9", "model": model}
    response = visitor.get(f"/collections/{collection.slug}/results/", query)
    assert shown_requests(response) == [str(wanted.request_id)]


def test_a_filter_that_does_not_exist_is_named_and_shows_everything(visitor: Client, collection: Collection) -> None:
    result = InferenceResultFactory(collection=collection)
    response = visitor.get(f"/collections/{collection.slug}/results/", {"verdict": "perfect"})
    assert shown_requests(response) == [str(result.request_id)]
    assert "perfect is not one of the available choices" in response.content.decode()


def test_shadow_results_are_not_listed(visitor: Client, collection: Collection) -> None:
    InferenceResultFactory(collection=collection, shadow=True)
    assert "No results yet" in visitor.get(f"/collections/{collection.slug}/results/").content.decode()


def test_older_pages_follow_without_gap_or_repeat_even_at_one_moment(collection: Collection) -> None:
    moment = timezone.now()
    expected = {InferenceResultFactory(collection=collection, created_at=moment).pk for _ in range(4)}
    expected |= {
        InferenceResultFactory(collection=collection, created_at=moment - timedelta(seconds=n)).pk for n in range(1, 4)
    }
    results, seen, cursor = selectors.results_of(collection), [], ""
    while True:
        page = page_of(results, before=cursor, size=3)
        seen += [row.pk for row in page.rows]
        cursor = page.older
        if not cursor:
            break
    assert len(seen) == len(expected)
    assert set(seen) == expected


@pytest.mark.parametrize("cursor", ["x", "12-zz", "9" * 40 + "-" + "0" * 32, "-1"])
def test_a_made_up_cursor_is_refused(visitor: Client, collection: Collection, cursor: str) -> None:
    assert visitor.get(f"/collections/{collection.slug}/results/", {"before": cursor}).status_code == 400


def test_episodes_are_narrowed_by_outcome_and_tag(visitor: Client, collection: Collection) -> None:
    wanted = EpisodeFactory(collection=collection, outcome="failure", tags=["night"])
    EpisodeFactory(collection=collection, outcome="failure")
    unknown = EpisodeFactory(collection=collection)
    path = f"/collections/{collection.slug}/episodes/"
    rows = visitor.get(path, {"outcome": "failure", "tag": "night"}).context["page"].rows
    assert rows == [wanted]
    assert visitor.get(path, {"outcome": "none"}).context["page"].rows == [unknown]


def test_a_manager_starts_an_export_and_a_run(visitor: Client, collection: Collection, manager: Membership) -> None:
    InferenceResultFactory(collection=collection)
    assert visitor.post(f"/collections/{collection.slug}/exports/", {"format": "csv"}).status_code == 302
    assert visitor.post(f"/collections/{collection.slug}/runs/").status_code == 302
    assert Export.objects.get(collection=collection).requested_by == manager.user
    assert PipelineRun.objects.get(collection=collection).requested_by == manager.user


def test_a_role_is_given_changed_and_taken_and_each_is_audited(visitor: Client, collection: Collection) -> None:
    person = UserFactory(username="kim")
    path = f"/collections/{collection.slug}/members/"
    visitor.post(path, {"username": "kim", "role": "viewer"})
    visitor.post(path, {"username": "kim", "role": "reviewer"})
    membership = Membership.objects.get(collection=collection, user=person)
    assert membership.role == "reviewer"
    visitor.post(f"{path}{membership.pk}/remove/")
    assert not Membership.objects.filter(pk=membership.pk).exists()
    actions = AuditLog.objects.filter(resource_id=person.pk).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["membership.added", "membership.changed", "membership.removed"]


def test_an_unknown_username_is_an_error_of_the_field(visitor: Client, collection: Collection) -> None:
    response = visitor.post(f"/collections/{collection.slug}/members/", {"username": "nobody", "role": "viewer"})
    assert response.status_code == 200
    assert "Nobody has this username." in response.content.decode()


def test_a_member_of_another_collection_cannot_be_removed_from_here(visitor: Client, collection: Collection) -> None:
    other = MembershipFactory()
    assert visitor.post(f"/collections/{collection.slug}/members/{other.pk}/remove/").status_code == 404
    assert Membership.objects.filter(pk=other.pk).exists()


def test_the_last_day_counts_each_slot_by_verdict(collection: Collection) -> None:
    now = timezone.now()
    for verdict in ("pass", "pass", "clamped"):
        InferenceResultFactory(collection=collection, safety_verdict=verdict, total_ms=20, created_at=now)
    InferenceResultFactory(collection=collection, created_at=now - timedelta(days=2))
    slots = selectors.recent(collection).slots
    assert len(slots) == 24
    assert (slots[-1].passed, slots[-1].clamped, slots[-1].rejected) == (2, 1, 0)
    assert slots[-1].p50 == 20
    assert all(slot.p50 is None and slot.passed == 0 for slot in slots[:-1])


def test_safety_scores_fall_into_ten_bins_and_one_belongs_to_the_last(collection: Collection) -> None:
    for score in (0.0, 0.05, 0.1, 0.95, 1.0):
        InferenceResultFactory(collection=collection, safety_score=score)
    counts = [found.count for found in selectors.safety_scores(collection)]
    assert counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]


def test_text_of_robots_is_escaped_everywhere(visitor: Client, collection: Collection) -> None:
    attack = "<script>alert(1)</script>"
    episode = EpisodeFactory(collection=collection, instruction=attack, tags=[attack])
    InferenceResultFactory(collection=collection, episode=episode, instruction=attack)
    for path in (
        f"/collections/{collection.slug}/results/",
        f"/collections/{collection.slug}/episodes/",
        f"/episodes/{episode.pk}/",
        f"/live/{collection.slug}/",
    ):
        assert attack not in visitor.get(path).content.decode(), path


# --- retention ---


def test_a_rule_is_set_changed_counted_and_removed_and_each_is_audited(visitor: Client, collection: Collection) -> None:
    InferenceResultFactory(collection=collection, created_at=timezone.now() - timedelta(days=10))
    path = f"/collections/{collection.slug}/retention/"
    rule = {"kind": "raw", "action": "delete", "enabled": "on"}
    assert visitor.post(path, rule | {"days": "30"}).status_code == 302
    assert visitor.post(path, rule | {"days": "7"}).status_code == 302
    kept = RetentionRule.objects.get(collection=collection)
    assert (kept.days, kept.kind, kept.enabled, kept.legal_hold) == (7, "raw", True, False)
    assert "1 record" in visitor.get(path, {"preview": "1"}).content.decode()
    assert visitor.post(f"{path}{kept.pk}/remove/").status_code == 302
    assert not RetentionRule.objects.filter(collection=collection).exists()
    actions = AuditLog.objects.filter(action__startswith="retention_rule").order_by("id")
    assert list(actions.values_list("action", flat=True)) == [
        "retention_rule.created",
        "retention_rule.changed",
        "retention_rule.deleted",
    ]


def test_a_rule_that_cannot_be_is_refused_with_its_reason(visitor: Client, collection: Collection) -> None:
    rule = {"kind": "export", "days": "7", "action": "archive"}
    response = visitor.post(f"/collections/{collection.slug}/retention/", rule)
    assert "Only raw records can be archived." in response.content.decode()
    assert not RetentionRule.objects.filter(collection=collection).exists()


# --- CSV ---


def rows_of(response: Any) -> list[dict[str, str]]:
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_a_list_downloads_as_csv_with_its_filters_and_without_formulas(visitor: Client, collection: Collection) -> None:
    clamped = InferenceResultFactory(collection=collection, safety_verdict="clamped", instruction="=1+1")
    InferenceResultFactory(collection=collection)
    path = f"/collections/{collection.slug}/results/"
    (row,) = rows_of(visitor.get(path, {"csv": "1", "verdict": "clamped"}))
    assert row["request_id"] == str(clamped.request_id)
    assert row["instruction"] == "'=1+1"
    assert float(row["total_ms"]) == clamped.total_ms
    episode = EpisodeFactory(collection=collection, outcome="failure", tags=["@home", "b"])
    (row,) = rows_of(visitor.get(f"/collections/{collection.slug}/episodes/", {"csv": "1", "outcome": "failure"}))
    assert (row["external_id"], row["tags"]) == (episode.external_id, "'@home, b")


# --- the overview's slower figures ---


def test_the_overview_counts_labels_reviews_runs_and_storage(visitor: Client, collection: Collection) -> None:
    result = InferenceResultFactory(collection=collection)
    FeedbackFactory(inference_result=result)
    FeedbackFactory(
        inference_result=result,
        feedback_type="correction",
        human_correction=result.output_actions,
        review_state="accepted",
    )
    FeedbackFactory()
    window = {"window_start": timezone.now() - timedelta(hours=1), "window_end": timezone.now()}
    PipelineRun.objects.create(collection=collection, state="succeeded", records_out=9, records_quarantined=2, **window)
    for number, size in enumerate((10, 30)):
        StoredObject.objects.create(
            key=f"exports/{number}", kind="export", collection=collection, bytes=size, sha256="0" * 64
        )
    context = visitor.get(f"/collections/{collection.slug}/").context
    assert [(day.corrections, day.judgements) for day in context["labels"]] == [(0, 0)] * 13 + [(1, 1)]
    assert context["reviews"] == {"Accepted": 1, "Not reviewed": 1}
    assert [(run.written, run.quarantined) for run in context["runs"]] == [(9, 2)]
    assert [(kept.objects, kept.bytes) for kept in context["storage"]] == [(2, 40)]


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_on_a_phone_the_open_tab_and_everything_in_a_row_are_in_view(
    visit: Visit, manager: Membership, collection: Collection
) -> None:
    MembershipFactory.create_batch(2, collection=collection)
    page = visit(f"/collections/{collection.slug}/members/", manager.user, size=NARROW)
    for shown in [page.locator(".tabs [aria-current]"), *page.get_by_role("button", name="Remove").all()]:
        box = shown.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= NARROW["width"]
