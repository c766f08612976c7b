from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.choices import Permission
from accounts.models import User
from collections_app.models import Collection
from core.personal_data import anonymise
from core.problems import Problem, forbidden, invalid, not_found
from feedback.choices import ReviewState, ReviewVerdict, TaskState, TaskVerdict
from feedback.corrections import checked_correction
from feedback.models import Feedback, FeedbackTask, GoldAnswer, Review
from feedback.services.answers import webhook_data
from feedback.services.disputes import notice_dispute, take_turn
from feedback.services.queue import HELD_FOR_ANNOTATOR
from feedback.signals import review_given
from feedback.webhooks import services as webhooks
from feedback.webhooks.choices import WebhookEvent


@transaction.atomic
def review_feedback(
    *,
    feedback_id: uuid.UUID,
    reviewer: User,
    verdict: ReviewVerdict,
    comment: str = "",
    fixed_actions: Any = None,
) -> Review:
    """Judge an answer: accept it, send it back with a comment, or put a chunk of the reviewer's own in its place.

    An answer that is sent back returns to its author with its task. Nobody reviews their own, and a disputed one is
    settled (``settle_dispute``) or sent back. Raises ``Problem`` 400 (no comment, no chunk, a chunk that breaks a
    limit), 403, 404 or 409.
    """
    feedback = _locked(feedback_id, reviewer)
    if verdict == ReviewVerdict.OVERRULED:
        raise invalid("/verdict", "Answers are overruled by settling a dispute.")
    if feedback.disputed and verdict != ReviewVerdict.SENT_BACK:
        raise Problem(409, "disputed", "Others say something else of this result: settle the dispute.")
    cleaned = anonymise(comment.strip())
    if verdict == ReviewVerdict.SENT_BACK and not cleaned.text:
        raise invalid("/comment", "Say what should be different.")
    if verdict == ReviewVerdict.FIXED:
        if fixed_actions is None:
            raise invalid("/fixed_actions", "A fix needs a chunk.")
        fixed_actions = checked_correction(fixed_actions, result=feedback.inference_result, pointer="/fixed_actions")
    else:
        fixed_actions = None
    review = record_judgement(
        feedback,
        reviewer=reviewer,
        verdict=verdict,
        state=ReviewState(verdict.value),
        comment=cleaned.text,
        fixed_actions=fixed_actions,
    )
    if verdict == ReviewVerdict.SENT_BACK:
        _return_to_author(feedback)
        result = feedback.inference_result
        said = list(Feedback.objects.current().filter(inference_result=result).order_by("created_at"))
        notice_dispute(result, said, actor=reviewer)
    if cleaned.kinds:
        audit.record(
            "feedback.personal_data_removed", feedback, changes={"review": [cleaned.kinds, None]}, actor=reviewer
        )
    return review


def record_judgement(
    feedback: Feedback,
    *,
    reviewer: User,
    verdict: ReviewVerdict,
    state: ReviewState,
    comment: str,
    fixed_actions: Any = None,
) -> Review:
    """Write what a reviewer said of a locked answer and what has become of it; tell the trail and whoever listens."""
    review = Review.objects.create(
        feedback=feedback, reviewer=reviewer, verdict=verdict, comment=comment, fixed_actions=fixed_actions
    )
    before = feedback.review_state
    feedback.review_state, feedback.disputed, feedback.reviewed_at = state, False, timezone.now()
    feedback.save(update_fields=["review_state", "disputed", "reviewed_at"])
    changes = {"review_state": [before, state.value], "fixed_actions": [None, fixed_actions]}
    audit.record("feedback.reviewed", feedback, changes=changes, actor=reviewer)
    webhooks.announce(
        collection_id=feedback.collection_id, event=WebhookEvent.FEEDBACK_REVIEWED, data=webhook_data(feedback)
    )
    transaction.on_commit(
        partial(
            review_given.send_robust,
            sender=Review,
            collection_id=feedback.collection_id,
            feedback_id=feedback.pk,
            review_id=review.pk,
        ),
        robust=True,
    )
    return review


def _return_to_author(feedback: Feedback) -> None:
    if feedback.task is None or feedback.annotator_id is None:
        return
    feedback.task.state = TaskState.ASSIGNED
    feedback.task.assignee_id = feedback.annotator_id
    feedback.task.assigned_until = timezone.now() + HELD_FOR_ANNOTATOR
    feedback.task.save(update_fields=["state", "assignee", "assigned_until"])


@transaction.atomic
def make_gold(*, feedback_id: uuid.UUID, reviewer: User) -> GoldAnswer:
    """Take an answer as the known one: later annotators of the same result are measured by it. Raises ``Problem``."""
    feedback = _locked(feedback_id, reviewer, may_be_own=True)
    verdict = feedback.verdict or (TaskVerdict.CORRECT if feedback.human_correction else "")
    if not verdict:
        raise invalid("/verdict", "Only an answer with a verdict can be a known one.")
    fix = feedback.reviews.filter(verdict=ReviewVerdict.FIXED).first()
    gold, _ = GoldAnswer.objects.update_or_create(
        inference_result=feedback.inference_result,
        defaults={
            "collection_id": feedback.collection_id,
            "verdict": TaskVerdict.CORRECT if fix else verdict,
            "actions": fix.fixed_actions if fix else feedback.human_correction,
            "enabled": True,
        },
    )
    audit.record("gold_answer.made", gold, changes={"verdict": [None, gold.verdict]}, actor=reviewer)
    return gold


def _locked(feedback_id: uuid.UUID, reviewer: User, *, may_be_own: bool = False) -> Feedback:
    found = Feedback.objects.filter(pk=feedback_id, collection__in=Collection.objects.restrict(reviewer))
    places = found.values_list("collection", "inference_result", "task").first()
    if places is None:
        raise not_found("No such feedback.")
    collection_id, result_id, task_id = places
    if not Collection.objects.restrict(reviewer, Permission.FEEDBACK_REVIEW).filter(pk=collection_id).exists():
        raise forbidden("You need the permission feedback:review on this collection.")
    if task_id is not None:  # the task, the turn, the answer: in the order in which an annotator locks them
        FeedbackTask.objects.select_for_update(of=("self",)).filter(pk=task_id).first()
    take_turn(result_id)
    feedback: Feedback = (
        Feedback.objects.select_for_update(of=("self",))
        .select_related("task", "inference_result__collection__action_space")
        .get(pk=feedback_id)
    )
    if feedback.annotator_id == reviewer.pk and not may_be_own:
        raise forbidden("Somebody else has to review your answer.")
    return feedback
