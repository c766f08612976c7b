"""Tasks of moments like a given one, with the real model's vectors."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.choices import Role
from accounts.models import AuditLog
from core.problems import Problem
from feedback import services
from feedback.models import FeedbackTask, TaskRule
from feedback.services import similar
from inference.models import InferenceResult
from pipeline.embeddings import encoders, indexing
from pipeline.embeddings.likeness import moments_like
from tests.factories import CollectionFactory, EpisodeFactory, InferenceResultFactory, MembershipFactory, UserFactory

pytestmark = [pytest.mark.ml, pytest.mark.django_db]

LIKE = ["grasp the red block", "pick the scarlet cube up"]
UNLIKE = ["open the drawer", "fold the towel", "pour water into the bowl"]


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The web process' encoder, of the same weights, loads in a tenth of the time."""
    monkeypatch.setattr(indexing, "indexing_encoder", encoders.query_encoder)


def record(collection: Any, instruction: str, *, steps: int = 5) -> list[InferenceResult]:
    """An episode whose robot moves along; step 3 is at 0.3."""
    episode = EpisodeFactory(collection=collection, instruction=instruction)
    return [
        InferenceResultFactory(
            collection=collection,
            episode=episode,
            robot=episode.robot,
            step=step,
            instruction=instruction,
            input_state=[0.1 * step] * 7,
        )
        for step in range(steps)
    ]


@pytest.fixture
def source() -> InferenceResult:
    """Step 3 of picking up a red cube, in a collection with other episodes, all embedded."""
    collection = CollectionFactory()
    mine = record(collection, "pick up the red cube")
    others = [result for instruction in LIKE + UNLIKE for result in record(collection, instruction)]
    elsewhere = record(CollectionFactory(), "pick up the red cube")
    indexing.index_results([result.pk for result in [*mine, *others, *elsewhere]])
    return mine[3]


def rule_like(source: InferenceResult, **fields: Any) -> TaskRule:
    given = {"collection": source.collection, "reason": "similar", "source": source, "threshold": 0.5, "limit": 10}
    return services.set_task_rule(**(given | fields))


def test_moments_are_of_episodes_that_were_asked_for_the_like_at_the_step_most_like_it(source: InferenceResult) -> None:
    alike = moments_like(source, threshold=0.5, limit=10)
    found = [InferenceResult.objects.get(pk=pk) for pk in alike]
    assert sorted(result.instruction for result in found) == sorted(LIKE)
    assert {result.step for result in found} == {3}
    assert {result.collection_id for result in found} == {source.collection_id}
    assert list(alike.values()) == sorted(alike.values(), reverse=True)
    assert all(0.5 <= likeness <= 1 for likeness in alike.values())


def test_a_rule_asks_about_them_once_and_about_new_ones_up_to_its_limit(source: InferenceResult) -> None:
    rule = rule_like(source, limit=3, overlap=2)
    assert services.ask_about_similar(rule_id=rule.pk) == 4
    assert services.ask_about_similar(rule_id=rule.pk) == 0
    tasks = FeedbackTask.objects.all()
    assert {(task.reason, task.inference_result.step) for task in tasks} == {("similar", 3)}
    assert all(0.5 <= task.priority_parts["strength"] <= 1 for task in tasks)
    for instruction in ("lift the red cube", "grab the red cube"):
        indexing.index_results([result.pk for result in record(source.collection, instruction)])
    TaskRule.objects.update(examined_until=timezone.now() - 2 * similar.LOOK_EVERY)
    assert services.sweep_similar() == 2
    rule.refresh_from_db()
    assert rule.made == 3
    assert services.sweep_similar() == 0


def test_a_result_that_is_not_embedded_is_tried_again_later() -> None:
    rule = rule_like(InferenceResultFactory())
    with pytest.raises(Problem):
        services.ask_about_similar(rule_id=rule.pk)
    assert services.sweep_similar() == 0
    rule.refresh_from_db()
    assert rule.examined_until is not None


def test_a_reviewer_sees_the_moments_and_makes_tasks_of_them(source: InferenceResult, client: Client) -> None:
    reviewer = MembershipFactory(collection=source.collection, role=Role.REVIEWER).user
    client.force_login(reviewer)
    url = f"/feedback/similar/{source.request_id}/"
    shown = client.get(url, {"threshold": "0.5", "limit": "10", "overlap": "1"}).content.decode()
    assert all(instruction in shown for instruction in LIKE)
    assert not any(instruction in shown for instruction in UNLIKE)
    assert not FeedbackTask.objects.exists()
    answered = client.post(url, {"threshold": "0.5", "limit": "10", "overlap": "1"}, follow=True)
    assert "2 tasks were made." in answered.content.decode()
    assert FeedbackTask.objects.count() == 2
    assert TaskRule.objects.get().source == source
    assert AuditLog.objects.get(action="task_rule.created").actor_id == reviewer.pk
    client.post(url, {"threshold": "0.5", "limit": "5", "overlap": "1"})
    assert (TaskRule.objects.get().limit, FeedbackTask.objects.count()) == (5, 2)


def test_a_manager_makes_such_a_rule_in_the_admin(source: InferenceResult, client: Client) -> None:
    manager = MembershipFactory(collection=source.collection, role=Role.MANAGER, user=UserFactory(is_staff=True)).user
    client.force_login(manager)
    given = {"collection": source.collection_id, "reason": "similar", "sample_rate": 1, "overlap": 1, "enabled": "on"}
    refused = client.post("/admin/feedback/taskrule/add/", given).content.decode()
    assert "Name a recorded request of this collection." in refused
    client.post("/admin/feedback/taskrule/add/", given | {"request_id": source.request_id, "limit": 7})
    rule = TaskRule.objects.get()
    assert (rule.source, rule.limit) == (source, 7)
    changed = {"enabled": "on", "sample_rate": 1, "threshold": 0.7, "overlap": 1, "limit": 9}
    client.post(f"/admin/feedback/taskrule/{rule.pk}/change/", changed)
    rule.refresh_from_db()
    assert (rule.source, rule.threshold, rule.limit) == (source, 0.7, 9)
