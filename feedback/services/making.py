from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.principals import Principal
from collections_app.choices import Outcome
from collections_app.models import Collection, Episode
from feedback import rules, scoring
from feedback.choices import TaskReason, TaskState
from feedback.models import FeedbackTask, TaskRule
from inference.models import InferenceResult

# Results reach the table a little out of order: each sweep begins this much before the end of the last one.
LOOK_BACK = timedelta(seconds=20)
SWEEP_BATCH = 2000
# A rule that is switched on asks about the last day, not about everything ever recorded.
FIRST_SWEEP = timedelta(days=1)

# Where a sweep stands: when a result was recorded, and its id.
Place = tuple[datetime, uuid.UUID]


def create_tasks(*, collection_id: uuid.UUID, reason: TaskReason, strengths: Mapping[uuid.UUID, float]) -> int:
    """Ask about results because of ``reason``, as far as the collection's rule of that name wants it.

    ``strengths`` maps a result's id to 0..1, how strongly it matched. Returns how many tasks were made; none where the
    rule does not exist or is off.
    """
    rule = _rules(collection_id).filter(reason=reason).first()
    if rule is None:
        return 0
    threshold = rule.threshold or 0.0
    above = {result_id: strength for result_id, strength in strengths.items() if strength >= threshold}
    return ask(rule, rules.sampled(rule, above))


def apply_rules(*, collection_id: uuid.UUID, result_ids: Sequence[uuid.UUID]) -> int:
    """Make the tasks that the collection's rules want of freshly recorded results. Returns how many."""
    enabled = [rule for rule in _rules(collection_id) if rule.reason in rules.MATCHERS]
    if not enabled:
        return 0
    results = list(_light(InferenceResult.objects.filter(collection_id=collection_id, pk__in=result_ids)))
    return sum(ask(rule, rules.matches(rule, results)) for rule in enabled)


def sweep_results(*, batches: int = 50) -> int:
    """Apply every rule to what was recorded since it last looked, so that a lost message loses no task.

    Each batch is a transaction that leaves the rule's place behind; ``batches`` bounds the work of one call.
    """
    made = 0
    for rule_id in TaskRule.objects.filter(enabled=True, reason__in=rules.MATCHERS).values_list("pk", flat=True):
        place: Place | None = None
        for _ in range(batches):
            place, new = _sweep_once(rule_id, place)
            made += new
            if place is None:
                break
    return made


@transaction.atomic
def _sweep_once(rule_id: int, after: Place | None) -> tuple[Place | None, int]:
    """Examine one batch. Returns where the next one begins (None: there is none), and how many tasks were made."""
    rule = TaskRule.objects.select_for_update(skip_locked=True, of=("self",)).filter(pk=rule_id, enabled=True).first()
    if rule is None:
        return None, 0
    recorded = InferenceResult.objects.filter(collection_id=rule.collection_id)
    if after is not None:
        recorded = recorded.filter(
            Q(created_at__gt=after[0]) | Q(created_at=after[0], id__gt=after[1]), created_at__gte=after[0]
        )
    elif rule.examined_until is not None:
        recorded = recorded.filter(created_at__gte=rule.examined_until - LOOK_BACK)
    else:
        recorded = recorded.filter(created_at__gte=timezone.now() - FIRST_SWEEP)
    results = list(_light(recorded).order_by("created_at", "id")[:SWEEP_BATCH])
    if not results:
        return None, 0
    made = ask(rule, rules.matches(rule, results))
    last = results[-1]
    if rule.examined_until is None or rule.examined_until < last.created_at:
        rule.examined_until = last.created_at
        rule.save(update_fields=["examined_until"])
    return ((last.created_at, last.pk) if len(results) == SWEEP_BATCH else None), made


def ask_about_failed_episode(*, episode_id: uuid.UUID) -> int:
    """Make tasks of a failed episode's steps, the last ones first: that is where it went wrong."""
    episode = Episode.objects.filter(pk=episode_id, outcome=Outcome.FAILURE).first()
    if episode is None:
        return 0
    steps = list(
        InferenceResult.objects.sent().filter(episode=episode).order_by("step", "created_at").values_list("pk")
    )
    strengths = {result_id: (index + 1) / len(steps) for index, (result_id,) in enumerate(steps)}
    return create_tasks(collection_id=episode.collection_id, reason=TaskReason.FAILURE, strengths=strengths)


@transaction.atomic
def flag_result(*, principal: Principal, result: InferenceResult) -> tuple[FeedbackTask, bool]:
    """Ask about one result because a person wants it looked at. Returns the task, and whether it is new.

    A task that waits already is only moved forward; an answered one is asked again.
    """
    Collection.objects.select_for_update().get(pk=result.collection_id)
    tasks = FeedbackTask.objects.filter(inference_result=result)
    score = scoring.score(result, TaskReason.FLAGGED)
    actor = principal if isinstance(principal, User) else None
    waiting = tasks.filter(state__in=(TaskState.OPEN, TaskState.ASSIGNED)).order_by("slot").first()
    if waiting is not None:
        if waiting.reason != TaskReason.FLAGGED:
            changes = audit.difference({"reason": waiting.reason}, {"reason": TaskReason.FLAGGED.value})
            waiting.reason, waiting.priority, waiting.priority_parts = TaskReason.FLAGGED, score.total, score.parts
            waiting.save(update_fields=["reason", "priority", "priority_parts"])
            audit.record("feedback_task.flagged", waiting, changes=changes, actor=actor)
        return waiting, False
    last = tasks.aggregate(last=Max("slot"))["last"]
    task = FeedbackTask.objects.create(
        collection_id=result.collection_id,
        inference_result=result,
        slot=0 if last is None else last + 1,
        reason=TaskReason.FLAGGED,
        priority=score.total,
        priority_parts=score.parts,
    )
    audit.record("feedback_task.flagged", task, changes={"request_id": [None, result.request_id]}, actor=actor)
    return task, True


@transaction.atomic
def ask(rule: TaskRule, strengths: Mapping[uuid.UUID, float]) -> int:
    """Tasks for the results that have none; where another rule asked with less urgency, its open tasks move forward."""
    if not strengths:
        return 0
    reason = TaskReason(rule.reason)
    scores = {
        result.pk: scoring.score(result, reason, strengths[result.pk])
        for result in _light(InferenceResult.objects.filter(pk__in=list(strengths)))
    }
    existing = list(FeedbackTask.objects.filter(inference_result__in=list(scores)))
    urgent = [
        task
        for task in existing
        if task.state == TaskState.OPEN and task.priority < scores[task.inference_result_id].total
    ]
    for task in urgent:
        score = scores[task.inference_result_id]
        task.reason, task.priority, task.priority_parts = reason, score.total, score.parts
    FeedbackTask.objects.bulk_update(urgent, ["reason", "priority", "priority_parts"])
    asked = {task.inference_result_id for task in existing}
    new = [
        FeedbackTask(
            collection_id=rule.collection_id,
            inference_result_id=result_id,
            slot=slot,
            reason=reason,
            priority=score.total,
            priority_parts=score.parts,
        )
        for result_id, score in scores.items()
        if result_id not in asked
        for slot in range(rule.overlap)
    ]
    FeedbackTask.objects.bulk_create(new, ignore_conflicts=True, batch_size=1000)
    if new:
        audit.record("feedback_tasks.made", rule, changes={"tasks": [None, len(new)]}, collection_id=rule.collection_id)
    return len(new)


def _rules(collection_id: uuid.UUID) -> QuerySet[TaskRule]:
    return TaskRule.objects.filter(collection_id=collection_id, enabled=True).select_related("collection__action_space")


def _light(results: QuerySet[InferenceResult]) -> QuerySet[InferenceResult]:
    """Without the columns that no rule and no score reads."""
    return results.only(
        "id", "request_id", "collection_id", "shadow", "safety_verdict", "safety_score", "confidence", "created_at"
    )
