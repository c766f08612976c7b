"""The home page's list: each line appears when it should, for whom it should."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.choices import Role
from accounts.models import User
from collections_app.models import Collection, Membership
from pipeline.models import Export, PipelineRun, QuarantinedRecord
from tests.factories import (
    ApiKeyFactory,
    DeploymentFactory,
    FeedbackFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    PolicyVersionFactory,
    RobotFactory,
    UserFactory,
)
from vla_project.pages.attention import attention_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager() -> Membership:
    return MembershipFactory(role=Role.MANAGER)


@pytest.fixture
def collection(manager: Membership) -> Collection:
    return manager.collection


def texts(user: User) -> list[str]:
    return [item.text for item in attention_of(user)]


def a_run(collection: Collection, **values: object) -> PipelineRun:
    now = timezone.now()
    window = {"window_start": now - timedelta(hours=1), "window_end": now}
    return PipelineRun.objects.create(collection=collection, **window, **values)


def test_nothing_waits_for_a_newcomer() -> None:
    assert attention_of(UserFactory()) == []


def test_failures_of_the_pipeline_reach_those_who_may_run_it(manager: Membership, collection: Collection) -> None:
    a_run(collection, state="failed", error="disk full\nTraceback …")
    Export.objects.create(collection=collection, format="csv", state="failed", error="no records")
    viewer = MembershipFactory(collection=collection, role=Role.VIEWER).user
    found = attention_of(manager.user)
    assert [(item.tone, item.detail) for item in found] == [("fail", "disk full"), ("fail", "no records")]
    assert attention_of(viewer) == []


def test_rejected_chunks_of_the_last_hour_are_counted(manager: Membership, collection: Collection) -> None:
    for age in (timedelta(minutes=1), timedelta(minutes=2), timedelta(hours=2)):
        InferenceResultFactory(
            collection=collection, safety_verdict="rejected", output_actions=[], created_at=timezone.now() - age
        )
    assert f"2 chunks were rejected in {collection}" in texts(manager.user)


def test_a_robot_that_went_silent_is_named_and_one_long_gone_is_not(
    manager: Membership, collection: Collection
) -> None:
    now = timezone.now()
    RobotFactory(collection=collection, name="quiet", last_seen_at=now - timedelta(minutes=20))
    RobotFactory(collection=collection, name="gone", last_seen_at=now - timedelta(days=3))
    RobotFactory(collection=collection, name="busy", last_seen_at=now)
    (item,) = attention_of(manager.user)
    assert (item.tone, item.detail) == ("warn", "quiet")


def test_a_version_that_does_not_load_is_shown_only_where_it_is_deployed(
    manager: Membership, collection: Collection
) -> None:
    PolicyVersionFactory(state="failed")
    broken = PolicyVersionFactory(state="failed", state_detail="ImportError: no module")
    DeploymentFactory(collection=collection, policy_version=broken)
    (item,) = attention_of(manager.user)
    assert item.text == f"{broken} does not load"
    assert item.detail == "ImportError: no module"


def test_open_tasks_wait_for_annotators_and_answers_for_reviewers(collection: Collection) -> None:
    result = InferenceResultFactory(collection=collection)
    FeedbackTaskFactory(inference_result=result)
    FeedbackFactory(inference_result=result)
    annotator = MembershipFactory(collection=collection, role=Role.ANNOTATOR).user
    reviewer = MembershipFactory(collection=collection, role=Role.REVIEWER).user
    assert texts(annotator) == ["1 result waits for an opinion"]
    assert texts(reviewer) == ["1 result waits for an opinion", "1 answer waits for your review"]


def test_quarantine_names_its_newest_reason(manager: Membership, collection: Collection) -> None:
    result = InferenceResultFactory(collection=collection)
    QuarantinedRecord.objects.create(
        run=a_run(collection), inference_result=result, stage="validate", reason="frozen_image"
    )
    (item,) = attention_of(manager.user)
    assert (item.text, item.detail) == ("1 record waits in quarantine", "frozen_image")


def test_keys_about_to_expire_are_a_superusers_matter(manager: Membership) -> None:
    ApiKeyFactory(name="arm key", expires_at=timezone.now() + timedelta(days=3))
    root = UserFactory(is_superuser=True, is_staff=True)
    assert any("arm key" in text for text in texts(root))
    assert texts(manager.user) == []


def test_the_most_pressing_comes_first(manager: Membership, collection: Collection) -> None:
    FeedbackTaskFactory(inference_result=InferenceResultFactory(collection=collection))
    RobotFactory(collection=collection, last_seen_at=timezone.now() - timedelta(minutes=20))
    a_run(collection, state="failed", error="x")
    assert [item.tone for item in attention_of(manager.user)] == ["fail", "warn", "accent"]
