"""Reading tasks and answers, always on somebody's behalf."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Avg, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from accounts.choices import Permission, roles_with
from accounts.models import User
from accounts.principals import Principal
from collections_app.models import Collection, Membership
from collections_app.selectors import permissions_on
from core.problems import Problem, forbidden, not_found
from feedback.choices import DisputeState, ReviewState, TaskState
from feedback.models import Dispute, Draft, Feedback, FeedbackTask
from feedback.querysets import FeedbackQuerySet, FeedbackTaskQuerySet
from inference.models import InferenceResult
from inference.selectors import recorded_result

# Counting beyond this tells an annotator nothing, and costs the more the longer the queue.
COUNT_AT_MOST = 1000
PACE_DAYS = 7
# The queue page shows this many collections; the next task comes from any.
LISTED_COLLECTIONS = 10
LISTED_HELD = 20
# How many of the most useful open tasks are looked at one by one before an annotator's whole work is.
LOOKED_AT_FIRST = 50


def result_to_answer(principal: Principal, request_id: uuid.UUID) -> InferenceResult:
    """The result that ``principal`` may give feedback on. Raises ``Problem`` 404, 403 where it may only be read."""
    try:
        return recorded_result(principal, request_id, Permission.FEEDBACK_WRITE)
    except Problem:
        if InferenceResult.objects.restrict(principal).with_request_id(request_id).exists():
            raise forbidden("You need the permission feedback:write on this collection.") from None
        raise


def feedback() -> FeedbackQuerySet:
    """Every answer with what its representation names; narrow it with ``restrict``."""
    return Feedback.objects.select_related("collection", "inference_result", "annotator", "api_key")


def permitted_feedback(principal: Principal, feedback_id: uuid.UUID) -> Feedback:
    """One answer that ``principal`` may read. Raises ``Problem`` 404."""
    found = feedback().restrict(principal).filter(pk=feedback_id).first()
    if found is None:
        raise not_found("No such feedback.")
    return found


def permitted_task(user: User, task_id: uuid.UUID) -> FeedbackTask:
    """A task with its result. Raises ``Problem`` 404 where ``user`` may not see it, 403 where they may only read."""
    task = (
        FeedbackTask.objects.restrict(user)
        .select_related(
            "assignee",
            "collection__action_space",
            "inference_result__collection__action_space",
            "inference_result__robot",
            "inference_result__episode",
        )
        .filter(pk=task_id)
        .first()
    )
    if task is None:
        raise not_found("No such task.")
    if Permission.FEEDBACK_WRITE not in permissions_on(user, task.collection):
        raise forbidden("You need the permission feedback:write on this collection.")
    return task


def workplaces(user: User) -> QuerySet[Collection]:
    """The collections in which ``user`` may answer tasks, the one with the most useful open task first.

    Annotates ``best``, that task's priority, None where none is open: one look into an index for each collection.
    """
    best = FeedbackTask.objects.open().filter(collection=OuterRef("pk")).most_useful_first()
    permitted = Collection.objects.restrict(user, Permission.FEEDBACK_WRITE).filter(archived_at=None)
    return permitted.annotate(best=Subquery(best.values("priority")[:1])).order_by(
        F("best").desc(nulls_last=True), "name"
    )


def annotators_of(collections: QuerySet[Any, Any]) -> QuerySet[User]:
    """Who may answer tasks in any of ``collections`` (their ids), by name."""
    roles = roles_with(Permission.FEEDBACK_WRITE)
    members = Membership.objects.filter(collection__in=collections, role__in=roles)
    return User.objects.filter(is_active=True, pk__in=members.values("user")).order_by("username")


def held_tasks(user: User) -> list[FeedbackTask]:
    """What ``user`` is working on, and answers that were sent back to them: the first of them to go on with."""
    held = FeedbackTask.objects.held_by(user).restrict(user, Permission.FEEDBACK_WRITE)
    return list(_listed(held).order_by("started_at", "id")[:LISTED_HELD])


def waiting_tasks(user: User, collection: Collection, *, limit: int = 10) -> list[FeedbackTask]:
    """The tasks of ``collection`` that ``user`` would be given next, the most useful first."""
    chosen = [task.pk for task in best_tasks(user, collection.pk, limit=limit)]
    return list(_listed(FeedbackTask.objects.filter(pk__in=chosen)).most_useful_first())


def best_tasks(user: User, collection_id: uuid.UUID, *, limit: int, locked: bool = False) -> list[FeedbackTask]:
    """The ``limit`` most useful open tasks that ``user`` has not seen; ``locked``: passing over those that others lock.

    Nearly always they are among the first few of the index. Where several annotators answer each result and one is far
    ahead of the others, the first many thousand are theirs: then one hash of their work is cheaper than a look for
    each.
    """
    waiting = FeedbackTask.objects.open().filter(collection=collection_id)

    def first(unseen: FeedbackTaskQuerySet) -> list[FeedbackTask]:
        if locked:
            unseen = unseen.select_for_update(of=("self",), skip_locked=True)
        return list(unseen.most_useful_first()[:limit])

    front = waiting.most_useful_first()[:LOOKED_AT_FIRST].values("pk")
    found = first(FeedbackTask.objects.open().filter(pk__in=front).not_seen_by(user))
    return found if len(found) == limit else first(waiting.outside_work_of(user))


def open_count(collection: Collection) -> int:
    """How many tasks of ``collection`` are open, or ``COUNT_AT_MOST + 1`` where there are more than that."""
    return FeedbackTask.objects.open().filter(collection=collection).order_by()[: COUNT_AT_MOST + 1].count()


def is_held_by(task: FeedbackTask, user: User) -> bool:
    """Whether ``task`` is assigned to ``user``; until somebody else takes it, it stays so when their time is over."""
    return task.state == TaskState.ASSIGNED and task.assignee_id == user.pk


def draft_of(task: FeedbackTask, user: User) -> Draft | None:
    return Draft.objects.filter(task=task, annotator=user).first()


def neighbours(result: InferenceResult, *, before: int = 12, after: int = 12) -> list[InferenceResult]:
    """The steps of the result's episode around it, in order, the result itself among them."""
    if result.episode_id is None or result.step is None:
        return [result]
    steps = InferenceResult.objects.sent().filter(
        episode=result.episode_id, step__gte=result.step - before, step__lte=result.step + after
    )
    return list(steps.only("id", "request_id", "step", "images", "created_at", "instruction").order_by("step", "id"))


@dataclass(frozen=True, slots=True)
class Progress:
    """An annotator's own work: answers today, in the last seven days and by day, and the usual seconds for one."""

    today: int
    week: int
    by_day: list[tuple[date, int]]
    seconds_each: float | None
    gold_agreement: float | None
    gold_count: int

    @property
    def busiest_day(self) -> int:
        """The most answers of one day, at least 1."""
        return max(1, *(count for _, count in self.by_day))


def progress(user: User) -> Progress:
    """The work of ``user`` over the last week: one query, which its index answers alone."""
    first = timezone.localdate() - timedelta(days=PACE_DAYS - 1)
    counts = {"n": Count("pk"), "seconds": Sum("seconds_spent"), "timed": Count("seconds_spent")}
    gold = {"gold": Sum("gold_score"), "golds": Count("gold_score")}
    days = _answers_since(user, first).annotate(day=TruncDate("created_at")).order_by().values("day")
    rows = {row["day"]: row for row in days.annotate(**counts, **gold)}
    total = {name: sum(row[name] or 0 for row in rows.values()) for name in (*counts, *gold)}
    by_day = [(day, rows[day]["n"] if day in rows else 0) for day in (first + timedelta(n) for n in range(PACE_DAYS))]
    return Progress(
        today=by_day[-1][1],
        week=total["n"],
        by_day=by_day,
        seconds_each=total["seconds"] / total["timed"] if total["timed"] else None,
        gold_agreement=total["gold"] / total["golds"] if total["golds"] else None,
        gold_count=total["golds"],
    )


def answered_today(user: User) -> int:
    """How many tasks ``user`` has answered since midnight."""
    return _answers_since(user, timezone.localdate()).count()


def _answers_since(user: User, day: date) -> FeedbackQuerySet:
    midnight = timezone.make_aware(datetime.combine(day, time.min))
    return Feedback.objects.filter(annotator=user, task__isnull=False, created_at__gte=midnight)


def reviewable(user: User) -> QuerySet[Collection]:
    """The collections in which ``user`` may review."""
    return Collection.objects.restrict(user, Permission.FEEDBACK_REVIEW).order_by("name")


def may_review(user: User, collection: Collection) -> bool:
    return Permission.FEEDBACK_REVIEW in permissions_on(user, collection)


def answers_to_review(user: User) -> QuerySet[Feedback]:
    """What ``user`` may review and nobody has, oldest first."""
    return _with_result(
        Feedback.objects.restrict(user, Permission.FEEDBACK_REVIEW).reviewable_by(user).order_by("created_at", "id")
    )


def permitted_review(user: User, feedback_id: uuid.UUID) -> Feedback:
    """An answer for a reviewer. Raises ``Problem`` 404 where ``user`` may not see it, 403 where they may not review."""
    answer = _with_result(Feedback.objects.restrict(user).filter(pk=feedback_id)).first()
    if answer is None:
        raise not_found("No such feedback.")
    if Permission.FEEDBACK_REVIEW not in permissions_on(user, answer.collection):
        raise forbidden("You need the permission feedback:review on this collection.")
    return answer


def open_disputes(user: User) -> QuerySet[Dispute]:
    """What ``user`` may settle: disputes in which they took no part, the oldest first."""
    own = Feedback.objects.filter(inference_result=OuterRef("inference_result"), annotator=user, disputed=True)
    disputes = Dispute.objects.restrict(user, Permission.FEEDBACK_REVIEW).filter(state=DisputeState.OPEN)
    return disputes.exclude(Exists(own)).select_related("collection", "inference_result").order_by("opened_at", "id")


def permitted_dispute(user: User, dispute_id: uuid.UUID) -> Dispute:
    """A dispute for a reviewer. Raises ``Problem`` 404 where ``user`` may not see it, 403 where they may not review."""
    dispute = Dispute.objects.restrict(user).select_related(
        "collection__action_space",
        "inference_result__collection__action_space",
        "inference_result__robot",
        "inference_result__episode",
        "settled_by",
    )
    found: Dispute | None = dispute.filter(pk=dispute_id).first()
    if found is None:
        raise not_found("No such dispute.")
    if Permission.FEEDBACK_REVIEW not in permissions_on(user, found.collection):
        raise forbidden("You need the permission feedback:review on this collection.")
    return found


def result_to_ask_about(user: User, request_id: uuid.UUID) -> InferenceResult:
    """The result like which a reviewer wants others. Raises ``Problem`` 404, 403 where ``user`` may only read it."""
    results = (
        InferenceResult.objects.restrict(user).sent().select_related("collection__action_space", "robot", "episode")
    )
    result: InferenceResult | None = results.with_request_id(request_id).first()
    if result is None:
        raise not_found("No such result.")
    if Permission.FEEDBACK_REVIEW not in permissions_on(user, result.collection):
        raise forbidden("You need the permission feedback:review on this collection.")
    return result


@dataclass(frozen=True, slots=True)
class Moment:
    """A result that is like another: how like, and whether people were asked about it already."""

    result: InferenceResult
    likeness: float
    is_asked: bool


def moments(alike: Mapping[uuid.UUID, float]) -> list[Moment]:
    """What a page shows of ``alike``, in its order."""
    asked = set(FeedbackTask.objects.filter(inference_result__in=alike).values_list("inference_result", flat=True))
    results = InferenceResult.objects.select_related("robot", "episode").in_bulk(list(alike))
    return [Moment(results[pk], likeness, pk in asked) for pk, likeness in alike.items() if pk in results]


def sides(dispute: Dispute) -> list[Feedback]:
    """The answers in dispute, or those that were when it was settled; the oldest first."""
    about = Feedback.objects.current().filter(inference_result=dispute.inference_result_id)
    if dispute.state == DisputeState.OPEN:
        about = about.filter(disputed=True)
    else:
        overruled = Q(review_state=ReviewState.OVERRULED)
        about = about.filter(overruled | Q(pk=dispute.chosen_id))
    return list(about.select_related("annotator", "api_key").order_by("created_at", "id"))


def gold_agreement(annotators: Iterable[uuid.UUID | None]) -> dict[uuid.UUID, float]:
    """How far each of ``annotators`` agreed with known answers, where they were asked any."""
    rows = Feedback.objects.filter(annotator__in=annotators, gold_score__isnull=False).order_by()
    return dict(rows.values_list("annotator").annotate(Avg("gold_score")))


def other_answers(answer: Feedback) -> QuerySet[Feedback]:
    """What others said of the same result, for adjudication."""
    same = Feedback.objects.current().filter(inference_result=answer.inference_result_id).exclude(pk=answer.pk)
    return same.select_related("annotator", "api_key").order_by("created_at")


def _listed(tasks: FeedbackTaskQuerySet) -> FeedbackTaskQuerySet:
    """With what a list names, without the chunks and states of the results."""
    heavy = ("input_state", "output_actions", "proposed_actions", "images", "safety_violations")
    listed = tasks.select_related("collection", "inference_result__robot")
    return listed.defer(*(f"inference_result__{name}" for name in heavy))


def _with_result(answers: QuerySet[Feedback]) -> QuerySet[Feedback]:
    return answers.select_related(
        "annotator",
        "api_key",
        "task",
        "collection__action_space",
        "inference_result__collection__action_space",
        "inference_result__robot",
        "inference_result__episode",
    )
