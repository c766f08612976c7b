from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import AuditLog, User
from collections_app.models import Collection
from feedback import services, tasks
from feedback.choices import TaskReason, TaskVerdict
from feedback.models import FeedbackTask, TaskRule
from feedback.receivers import ask_about_failure, make_tasks_of_new_results
from feedback.scoring import explain, score
from tests.factories import EpisodeFactory, InferenceResultFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


def rule(collection: Collection, reason: TaskReason, **fields: Any) -> TaskRule:
    return services.set_task_rule(collection=collection, reason=reason, **fields)


def recorded(collection: Collection, **fields: Any) -> Any:
    return InferenceResultFactory(collection=collection, **fields)


def asked(collection: Collection) -> set[Any]:
    return set(FeedbackTask.objects.filter(collection=collection).values_list("inference_result", flat=True))


@pytest.mark.parametrize(
    ("reason", "wanted", "unwanted"),
    [
        (TaskReason.ALL, {}, {"shadow": True}),
        (TaskReason.SAFETY, {"safety_verdict": "clamped", "safety_score": 0.9}, {}),
        (TaskReason.LOW_CONFIDENCE, {"confidence": 0.3}, {"confidence": 0.7}),
        (TaskReason.LOW_CONFIDENCE, {"confidence": 0.3}, {"confidence": None}),
    ],
)
def test_a_rule_asks_about_what_it_names(
    collection: Collection, reason: TaskReason, wanted: dict[str, Any], unwanted: dict[str, Any]
) -> None:
    rule(collection, reason)
    matching, other = recorded(collection, **wanted), recorded(collection, **unwanted)
    services.apply_rules(collection_id=collection.pk, result_ids=[matching.pk, other.pk])
    assert asked(collection) == {matching.pk}


def test_versions_that_disagree_about_an_observation_are_put_before_a_person(collection: Collection) -> None:
    rule(collection, TaskReason.DISAGREEMENT, threshold=0.05)
    disputed, agreed = recorded(collection), recorded(collection)
    for result, actions in ((disputed, chunk(0.5)), (agreed, agreed.output_actions)):
        recorded(collection, request_id=result.request_id, shadow=True, output_actions=actions)
    services.apply_rules(collection_id=collection.pk, result_ids=[disputed.pk, agreed.pk])
    assert asked(collection) == {disputed.pk}


def test_a_shadow_version_that_answers_later_is_still_compared(collection: Collection) -> None:
    rule(collection, TaskReason.DISAGREEMENT, threshold=0.05)
    result = recorded(collection)
    services.apply_rules(collection_id=collection.pk, result_ids=[result.pk])
    assert not asked(collection)
    shadow = recorded(collection, request_id=result.request_id, shadow=True, output_actions=chunk(0.5))
    services.apply_rules(collection_id=collection.pk, result_ids=[shadow.pk])
    assert asked(collection) == {result.pk}


def test_a_sample_is_its_share_and_the_same_each_time(collection: Collection) -> None:
    rule(collection, TaskReason.SAMPLE, sample_rate=0.3)
    one = recorded(collection)
    ids = [
        recorded(collection, robot=one.robot, episode=one.episode, policy_version=one.policy_version).pk
        for _ in range(300)
    ]
    services.apply_rules(collection_id=collection.pk, result_ids=ids)
    drawn = asked(collection)
    assert 60 < len(drawn) < 120
    FeedbackTask.objects.all().delete()
    services.apply_rules(collection_id=collection.pk, result_ids=ids)
    assert asked(collection) == drawn


def test_a_result_is_asked_once_for_its_most_urgent_reason_by_as_many_as_the_rule_wants(
    collection: Collection,
) -> None:
    rule(collection, TaskReason.ALL)
    rule(collection, TaskReason.SAFETY, overlap=2)
    calm, unsafe = recorded(collection), recorded(collection, safety_verdict="rejected", output_actions=[])
    services.apply_rules(collection_id=collection.pk, result_ids=[calm.pk, unsafe.pk])
    assert FeedbackTask.objects.get(inference_result=calm).reason == TaskReason.ALL
    assert set(FeedbackTask.objects.filter(inference_result=unsafe).values_list("reason", "slot")) >= {("safety", 0)}


def test_the_sweep_finds_what_no_message_told_of_and_looks_at_it_once(collection: Collection) -> None:
    made = rule(collection, TaskReason.ALL)
    old = recorded(collection, created_at=timezone.now() - timedelta(days=2))
    new = [recorded(collection, created_at=timezone.now() - timedelta(hours=n)) for n in (3, 2, 1)]
    assert tasks.make_tasks() == 3
    assert asked(collection) == {result.pk for result in new}
    assert old.pk not in asked(collection)
    made.refresh_from_db()
    assert made.examined_until == max(result.created_at for result in new)
    assert tasks.make_tasks() == 0


def test_the_sweep_gets_through_more_than_one_batch(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback.services.making.SWEEP_BATCH", 2)
    rule(collection, TaskReason.ALL)
    for seconds in range(7):
        recorded(collection, created_at=timezone.now() - timedelta(seconds=seconds // 3))
    assert services.sweep_results() == 7
    recorded(collection)
    assert services.sweep_results() == 1


def test_the_steps_of_a_failed_episode_are_asked_the_last_first(collection: Collection) -> None:
    rule(collection, TaskReason.FAILURE)
    episode = EpisodeFactory(collection=collection)
    steps = [recorded(collection, episode=episode, robot=episode.robot, step=step) for step in range(3)]
    assert services.ask_about_failed_episode(episode_id=episode.pk) == 0
    episode.outcome = "failure"
    episode.save()
    assert services.ask_about_failed_episode(episode_id=episode.pk) == 3
    in_order = FeedbackTask.objects.most_useful_first().values_list("inference_result", flat=True)
    assert list(in_order) == [step.pk for step in reversed(steps)]


def test_other_apps_ask_through_the_rule_of_their_reason(collection: Collection) -> None:
    result, weak = recorded(collection), recorded(collection)
    ask = {"collection_id": collection.pk, "reason": TaskReason.ANOMALY, "strengths": {result.pk: 0.9, weak.pk: 0.1}}
    assert services.create_tasks(**ask) == 0
    rule(collection, TaskReason.ANOMALY, threshold=0.5)
    assert services.create_tasks(**ask) == 1
    assert asked(collection) == {result.pk}


def test_a_rule_that_is_off_asks_nothing(collection: Collection) -> None:
    rule(collection, TaskReason.ALL, enabled=False)
    result = recorded(collection)
    assert services.apply_rules(collection_id=collection.pk, result_ids=[result.pk]) == 0
    assert tasks.make_tasks() == 0


def test_news_of_results_becomes_work_only_where_there_are_rules(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued: list[tuple[Any, ...]] = []
    for task in (tasks.make_tasks_of_results, tasks.make_tasks_of_failed_episode):
        monkeypatch.setattr(task, "delay", lambda *args: enqueued.append(args))
    result = recorded(collection)
    make_tasks_of_new_results(collection_id=collection.pk, result_ids=[result.pk])
    ask_about_failure(collection_id=collection.pk, episode_id=result.episode_id)
    assert enqueued == []
    rule(collection, TaskReason.ALL)
    rule(collection, TaskReason.FAILURE)
    make_tasks_of_new_results(collection_id=collection.pk, result_ids=[result.pk])
    ask_about_failure(collection_id=collection.pk, episode_id=result.episode_id)
    assert enqueued == [(str(collection.pk), [str(result.pk)]), (str(result.episode_id),)]
    tasks.make_tasks_of_results(*enqueued[0])
    assert asked(collection) == {result.pk}


def test_a_flag_moves_a_waiting_task_to_the_front_and_reopens_the_question_of_an_answered_one(
    collection: Collection, annotator: User
) -> None:
    rule(collection, TaskReason.ALL)
    result = recorded(collection)
    services.apply_rules(collection_id=collection.pk, result_ids=[result.pk])
    task, is_new = services.flag_result(principal=annotator, result=result)
    assert (is_new, task.reason, task.slot) == (False, TaskReason.FLAGGED, 0)
    services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)
    again, is_new = services.flag_result(principal=annotator, result=result)
    assert (is_new, again.slot) == (True, 1)


def test_a_score_is_the_sum_of_parts_that_can_be_explained() -> None:
    result = InferenceResultFactory.build(confidence=0.25, safety_score=0.9)
    scored = score(result, TaskReason.SAFETY, 0.5)
    assert scored.parts == {"reason": 1.5, "strength": 0.5, "uncertainty": 0.75, "safety": 0.1}
    assert scored.total == pytest.approx(2.85)
    assert [part.value for part in explain(scored.parts)] == [1.5, 0.75, 0.5, 0.1]


def test_rules_are_audited(collection: Collection, annotator: User) -> None:
    made = rule(collection, TaskReason.ALL, actor=annotator)
    rule(collection, TaskReason.ALL, overlap=3, actor=annotator)
    services.remove_task_rule(rule=made, actor=annotator)
    entries = AuditLog.objects.filter(resource_type="taskrule").order_by("pk")
    assert [entry.action for entry in entries] == ["task_rule.created", "task_rule.changed", "task_rule.removed"]
    assert entries[1].changes == {"overlap": [1, 3]}
