from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.choices import Permission
from accounts.models import User
from collections_app.models import Collection
from core.personal_data import anonymise
from core.problems import Problem, invalid, not_found
from feedback import selectors
from feedback.choices import FeedbackType, Preferred, SkipReason, TaskReason, TaskState, TaskVerdict
from feedback.models import Draft, Feedback, FeedbackTask, GoldAnswer, TaskSkip
from feedback.querysets import FeedbackTaskQuerySet
from feedback.services.answers import give_feedback

# An annotator holds a task this long after the last sign of life: asking for work, or a saved draft.
HOLD = timedelta(minutes=30)
# ... and so much later it is written down again: a sign of life comes with every few keys.
HOLD_AGAIN = timedelta(minutes=1)
# What was given to an annotator waits for them this long before others may take it.
HELD_FOR_ANNOTATOR = timedelta(days=7)
GIVEN_AT_ONCE = 500
# A task that this many annotators have passed on is nobody's; a manager may open it again.
SKIPS_UNTIL_CLOSED = 3
# One known answer is asked for in this many tasks.
GOLD_EVERY = 20
MAX_DRAFT_BYTES = 256 * 1024

_FEEDBACK_OF_VERDICT: dict[TaskVerdict, FeedbackType] = {
    TaskVerdict.ACCEPT: FeedbackType.PREFERENCE,
    TaskVerdict.CORRECT: FeedbackType.CORRECTION,
    TaskVerdict.REJECT: FeedbackType.FAILURE,
    TaskVerdict.SUCCESS: FeedbackType.SUCCESS,
    TaskVerdict.FAILURE: FeedbackType.FAILURE,
    TaskVerdict.UNCLEAR: FeedbackType.COMMENT,
}


def claim_next_task(*, annotator: User, collection: Collection | None = None) -> FeedbackTask | None:
    """The task that ``annotator`` already holds, else the most useful one that nobody does, now theirs; None: no work.

    Annotators who ask at once get different tasks and do not wait for each other: a row that another transaction has
    locked is passed over.
    """
    places = _workplaces(annotator, collection)
    held_in = [place.collection_id for place in places if place.has_mine]
    if held_in:
        held = FeedbackTask.objects.held_by(annotator).filter(collection__in=held_in)
        mine = held.order_by("started_at", "id").first()
        if mine is not None:
            return _hold_longer(mine)
    if any(place.has_expired for place in places):
        _return_expired([place.collection_id for place in places if place.has_expired])
        places = _workplaces(annotator, collection)
    for place in places:
        if not place.has_open:
            continue
        with transaction.atomic():
            task = _gold_task(annotator, place.collection_id) if place.has_gold else None
            task = task or _lock_best(annotator, place.collection_id)
            if task is not None:
                return _assign(task, annotator)
    return None


@transaction.atomic
def claim_task(*, task_id: uuid.UUID, annotator: User) -> FeedbackTask:
    """Give one task to ``annotator``. Raises ``Problem`` 404, or 409 where another holds it or it is done."""
    task = _locked(task_id, annotator)
    if task.state == TaskState.ASSIGNED and task.assignee_id == annotator.pk:
        return _hold_longer(task)
    _require_free(task)
    return _assign(task, annotator)


@transaction.atomic
def save_draft(*, task_id: uuid.UUID, annotator: User, content: Any) -> Draft:
    """Keep what ``annotator`` has entered, and the task with them where it is theirs or free.

    Personal data in its comment is replaced. The draft is kept even where another has the task meanwhile. Raises
    ``Problem`` 400 where it is no object, 404, 413.
    """
    task = _locked(task_id, annotator)
    if not isinstance(content, dict):
        raise invalid("", "A draft is an object.")
    if len(str(content)) > MAX_DRAFT_BYTES:
        raise Problem(413, "too_large", "The draft is larger than any chunk needs.")
    content = _without_personal_data(content, task=task, annotator=annotator)
    draft, _ = Draft.objects.update_or_create(task=task, annotator=annotator, defaults={"content": content})
    if task.state == TaskState.ASSIGNED and task.assignee_id == annotator.pk:
        _hold_longer(task)
    elif _is_free(task):
        _assign(task, annotator)
    return draft


@transaction.atomic
def submit_task(
    *,
    task_id: uuid.UUID,
    annotator: User,
    verdict: TaskVerdict,
    actions: Any = None,
    rating: int | None = None,
    confidence: float | None = None,
    comment: str = "",
    active_seconds: float | None = None,
) -> Feedback:
    """Answer a task. ``actions`` counts only with the verdict to correct.

    ``active_seconds`` is how long the page was in use, and is never more than the time since the task was opened.
    Raises ``Problem`` 400 as ``give_feedback``, 404, and 409 where the task is another's or done.
    """
    task = _locked(task_id, annotator, "inference_result", "collection__action_space")
    task.inference_result.collection = task.collection
    if not (task.state == TaskState.ASSIGNED and task.assignee_id == annotator.pk):
        _require_free(task)
    now, before = timezone.now(), _facts(task)
    seconds_spent = _seconds_spent(task.started_at or now, now, active_seconds)
    task.state, task.assignee, task.assigned_until, task.completed_at = TaskState.DONE, annotator, None, now
    task.save(update_fields=["state", "assignee", "assigned_until", "completed_at"])
    Draft.objects.filter(task=task, annotator=annotator).delete()
    # From the first entry of the trail on, nobody else can write one: what is left to do is short.
    feedback, _ = give_feedback(
        principal=annotator,
        result=task.inference_result,
        feedback_type=_FEEDBACK_OF_VERDICT[verdict],
        verdict=verdict,
        actions=actions if verdict == TaskVerdict.CORRECT else None,
        preferred=Preferred.MODEL if verdict == TaskVerdict.ACCEPT else "",
        rating=rating,
        confidence=confidence,
        comment=comment,
        task=task,
        seconds_spent=seconds_spent,
    )
    changes = audit.difference(before, _facts(task))
    audit.record("feedback_task.done", task, changes=changes, actor=annotator)
    return feedback


@transaction.atomic
def skip_task(*, task_id: uuid.UUID, annotator: User, reason: SkipReason, note: str = "") -> FeedbackTask:
    """Pass on a task: others are asked, ``annotator`` is not again. Raises ``Problem`` 400, 404 or 409."""
    if reason == SkipReason.OTHER and not note.strip():
        raise invalid("/note", "Say in a few words why.")
    task = _locked(task_id, annotator)
    if not (task.state == TaskState.ASSIGNED and task.assignee_id == annotator.pk):
        _require_free(task)
    cleaned = anonymise(note.strip())
    TaskSkip.objects.update_or_create(
        task=task, annotator=annotator, defaults={"reason": reason, "note": cleaned.text[:200]}
    )
    before = _facts(task)
    closed = task.skips.count() >= SKIPS_UNTIL_CLOSED
    task.state = TaskState.SKIPPED if closed else TaskState.OPEN
    task.assignee = task.assigned_until = task.started_at = None
    _save(task, "feedback_task.skipped", before, annotator, skip_reason=[None, reason])
    if cleaned.kinds:
        changes = {"note": [cleaned.kinds, None]}
        audit.record("feedback.personal_data_removed", task, changes=changes, actor=annotator)
    return task


@transaction.atomic
def release_task(*, task_id: uuid.UUID, annotator: User) -> FeedbackTask:
    """Give a held task back to the queue. The draft stays. Raises ``Problem`` 404, or 409 where it is not theirs."""
    task = _locked(task_id, annotator)
    if task.state != TaskState.ASSIGNED or task.assignee_id != annotator.pk:
        raise Problem(409, "task_not_held", "You do not hold this task.")
    before = _facts(task)
    task.state, task.assignee, task.assigned_until, task.started_at = TaskState.OPEN, None, None, None
    _save(task, "feedback_task.released", before, annotator)
    return task


@transaction.atomic
def reopen_tasks(*, tasks: QuerySet[FeedbackTask]) -> int:
    """Put skipped and held tasks back into the queue, for everybody. Returns how many."""
    count = 0
    for task in tasks.filter(state__in=(TaskState.SKIPPED, TaskState.ASSIGNED)).select_for_update(of=("self",)):
        before = _facts(task)
        task.skips.all().delete()
        task.state, task.assignee, task.assigned_until, task.started_at = TaskState.OPEN, None, None, None
        _save(task, "feedback_task.reopened", before)
        count += 1
    return count


def _without_personal_data(content: dict[str, Any], *, task: FeedbackTask, annotator: User) -> dict[str, Any]:
    """A draft to keep. The trail has each kind of what was removed once, not once for every few keys."""
    if not isinstance(content.get("comment"), str):
        return content
    cleaned = anonymise(content["comment"])
    if cleaned.kinds:
        kept = Draft.objects.filter(task=task, annotator=annotator).values_list("content__comment", flat=True).first()
        kinds = {kind: count for kind, count in cleaned.kinds.items() if f"<{kind}>" not in str(kept)}
        if kinds:
            changes = {"draft": [kinds, None]}
            audit.record("feedback.personal_data_removed", task, changes=changes, actor=annotator)
    return content | {"comment": cleaned.text}


@transaction.atomic
def assign_tasks(*, tasks: FeedbackTaskQuerySet, annotator: User, actor: User) -> int:
    """Give open and held tasks, at most ``GIVEN_AT_ONCE``, to ``annotator``, who holds them for a week.

    Left out are those in whose collections ``actor`` does not manage or ``annotator`` may not answer, and those about
    results that ``annotator`` knows already: what is asked twice is to be answered by two. Returns how many were given.
    """
    given = tasks.restrict(actor, Permission.COLLECTION_MANAGE).restrict(annotator, Permission.FEEDBACK_WRITE)
    given = given.filter(state__in=(TaskState.OPEN, TaskState.ASSIGNED)).not_seen_by(annotator)
    now, results = timezone.now(), set()
    for task in given.most_useful_first().select_for_update(of=("self",))[:GIVEN_AT_ONCE]:
        if task.inference_result_id in results:
            continue
        results.add(task.inference_result_id)
        before = _facts(task)
        task.state, task.assignee, task.started_at = TaskState.ASSIGNED, annotator, now
        task.assigned_until = now + HELD_FOR_ANNOTATOR
        _save(task, "feedback_task.assigned", before, actor)
    return len(results)


class _Workplace(NamedTuple):
    """A collection in which somebody may answer, and what a claim has to do there."""

    collection_id: uuid.UUID
    has_open: bool
    has_mine: bool
    has_expired: bool
    has_gold: bool


def _workplaces(annotator: User, collection: Collection | None) -> list[_Workplace]:
    """Where ``annotator`` may work, the most useful open task first: one query, whatever there is to do."""
    permitted = selectors.workplaces(annotator)
    if collection is not None:
        permitted = permitted.filter(pk=collection.pk)
    here = {"collection": OuterRef("pk")}
    rows = permitted.values_list(
        "pk",
        "best",
        Exists(FeedbackTask.objects.held_by(annotator).filter(**here)),
        Exists(FeedbackTask.objects.expired().filter(**here)),
        Exists(GoldAnswer.objects.filter(enabled=True, **here)),
    )
    return [_Workplace(pk, best is not None, *rest) for pk, best, *rest in rows]


@transaction.atomic
def _return_expired(collections: Sequence[uuid.UUID]) -> None:
    expired = FeedbackTask.objects.expired().filter(collection__in=collections)
    for task in expired.select_for_update(of=("self",), skip_locked=True):
        before = _facts(task)
        task.state, task.assignee, task.assigned_until, task.started_at = TaskState.OPEN, None, None, None
        _save(task, "feedback_task.expired", before)


def _lock_best(annotator: User, collection_id: uuid.UUID) -> FeedbackTask | None:
    return next(iter(selectors.best_tasks(annotator, collection_id, limit=1, locked=True)), None)


def _gold_task(annotator: User, collection_id: uuid.UUID) -> FeedbackTask | None:
    """A task with a known answer, where one is due. It looks like any other."""
    gold = GoldAnswer.objects.filter(collection=collection_id, enabled=True)
    done = FeedbackTask.objects.filter(assignee=annotator, collection=collection_id, state=TaskState.DONE)
    recent = done.order_by("-completed_at").values_list("inference_result", flat=True)
    recent_results = list(recent[: GOLD_EVERY - 1])
    if len(recent_results) < GOLD_EVERY - 1 or gold.filter(inference_result__in=recent_results).exists():
        return None
    asked = FeedbackTask.objects.filter(assignee=annotator, inference_result=OuterRef("inference_result"))
    due = gold.exclude(Exists(asked)).order_by("id").first()
    if due is None:
        return None
    slots = FeedbackTask.objects.filter(inference_result=due.inference_result_id)
    last = slots.aggregate(last=Max("slot"))["last"]
    return FeedbackTask.objects.create(
        collection_id=collection_id,
        inference_result_id=due.inference_result_id,
        slot=0 if last is None else last + 1,
        reason=TaskReason.SAMPLE,
    )


def _locked(task_id: uuid.UUID, annotator: User, *related: str) -> FeedbackTask:
    permitted = FeedbackTask.objects.restrict(annotator, Permission.FEEDBACK_WRITE).select_for_update(of=("self",))
    task = (permitted.select_related(*related) if related else permitted).filter(pk=task_id).first()
    if task is None:
        raise not_found("No such task.")
    return task


def _is_free(task: FeedbackTask) -> bool:
    expired = task.assigned_until is not None and task.assigned_until < timezone.now()
    return task.state == TaskState.OPEN or (task.state == TaskState.ASSIGNED and expired)


def _require_free(task: FeedbackTask) -> None:
    if _is_free(task):
        return
    if task.state == TaskState.ASSIGNED:
        raise Problem(409, "task_held", f"{task.assignee} is working on this task.")
    raise Problem(409, "task_closed", "This task is already answered." if task.state == TaskState.DONE else "Closed.")


def _assign(task: FeedbackTask, annotator: User) -> FeedbackTask:
    before = _facts(task)
    now = timezone.now()
    task.state, task.assignee, task.assigned_until, task.started_at = TaskState.ASSIGNED, annotator, now + HOLD, now
    _save(task, "feedback_task.claimed", before, annotator)
    return task


def _hold_longer(task: FeedbackTask) -> FeedbackTask:
    """Not audited: the owner stays the same, and drafts are saved every few seconds."""
    until = timezone.now() + HOLD
    if task.assigned_until is None or until - task.assigned_until > HOLD_AGAIN:
        task.assigned_until = until
        task.save(update_fields=["assigned_until"])
    return task


def _save(task: FeedbackTask, action: str, before: dict[str, Any], actor: User | None = None, **more: Any) -> None:
    task.save(update_fields=["state", "assignee", "assigned_until", "started_at", "completed_at"])
    audit.record(action, task, changes={**audit.difference(before, _facts(task)), **more}, actor=actor)


def _facts(task: FeedbackTask) -> dict[str, Any]:
    return {"state": str(task.state), "assignee": task.assignee_id}


def _seconds_spent(started_at: datetime, now: datetime, active_seconds: float | None) -> float:
    elapsed = max(0.0, (now - started_at).total_seconds())
    return round(elapsed if active_seconds is None else min(max(active_seconds, 0.0), elapsed), 1)
