"""What became of an annotator's own answers: what a reviewer sent back to them, and what now stands in their place."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Prefetch
from django.utils import timezone

from accounts.models import User
from feedback.choices import CHANGED_BY_REVIEWERS, DisputeState, ReviewState, TaskVerdict
from feedback.corrections import Chunk
from feedback.models import Dispute, Feedback, FeedbackTask, Review
from feedback.querysets import FeedbackQuerySet

# What a reviewer changed is shown to its author for so long, and at most so many of it.
SHOWN_FOR = timedelta(days=14)
SHOWN = 10


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """An answer that no longer stands, and the review that says so."""

    answer: Feedback
    review: Review


@dataclass(frozen=True, slots=True)
class Judgement:
    """What stands instead of an answer: a verdict's name ("" where it is disputed anew), and a chunk
    ``[step][dimension]`` where that verdict has one of its own."""

    review: Review
    verdict: Any
    chunk: Chunk | None


def changed_answers(user: User) -> list[ChangedAnswer]:
    """The answers of ``user`` that a reviewer fixed or overruled of late, the last first: two queries, one index."""
    changed = Feedback.objects.restrict(user).changed_by_reviewers().filter(annotator=user)
    recent = changed.filter(reviewed_at__gte=timezone.now() - SHOWN_FOR).order_by("-reviewed_at")
    found = [(answer, _deciding_review(answer)) for answer in _light(recent)[:SHOWN]]
    return [ChangedAnswer(answer, review) for answer, review in found if review is not None]


def last_answers(tasks: Iterable[FeedbackTask], user: User) -> dict[uuid.UUID, Feedback]:
    """What ``user`` said before of each of ``tasks``, by the task's id, with its reviews: two queries."""
    answers = Feedback.objects.current().filter(task__in=list(tasks), annotator=user)
    return {answer.task_id: answer for answer in _light(answers).order_by("created_at") if answer.task_id}


def last_answer(task: FeedbackTask, user: User) -> Feedback | None:
    """What ``user`` said before of ``task``, with its reviews, the newest of them first."""
    answers = Feedback.objects.current().filter(task=task, annotator=user).prefetch_related("reviews__reviewer")
    return answers.order_by("-created_at").first()


def as_entered(answer: Feedback) -> dict[str, Any]:
    """``answer`` as its author's page sent it: what a draft of it would hold."""
    return {
        "actions": answer.human_correction,
        "verdict": answer.verdict,
        "rating": "" if answer.rating is None else str(answer.rating),
        "confidence": "" if answer.confidence is None else f"{answer.confidence:g}",
        "comment": answer.comment,
    }


def judgement_of(answer: Feedback) -> Judgement | None:
    """What stands in place of ``answer``; None where it stands itself, or nobody has judged it."""
    review = _deciding_review(answer)
    if review is None:
        return None
    if answer.review_state == ReviewState.FIXED:
        return Judgement(review, TaskVerdict.CORRECT.label, review.fixed_actions)
    settled = Dispute.objects.filter(inference_result=answer.inference_result_id, state=DisputeState.SETTLED)
    chosen = Feedback.objects.with_final_actions().filter(pk__in=settled.values("chosen")).first()
    if chosen is None:
        return Judgement(review, "", None)
    return Judgement(review, chosen.get_verdict_display() or chosen.get_feedback_type_display(), chosen.final_actions)


def _deciding_review(answer: Feedback) -> Review | None:
    """The newest that fixed or overruled ``answer``; a dispute may have accepted, as it was fixed, what was fixed."""
    if answer.review_state not in CHANGED_BY_REVIEWERS:
        return None
    return next((review for review in answer.reviews.all() if review.verdict == answer.review_state), None)


def _light(answers: FeedbackQuerySet) -> FeedbackQuerySet:
    """With what a list names, without chunks."""
    reviews = Review.objects.select_related("reviewer").defer("fixed_actions")
    listed = answers.select_related("collection", "inference_result").prefetch_related(Prefetch("reviews", reviews))
    heavy = ("input_state", "output_actions", "proposed_actions", "images", "safety_violations")
    return listed.defer("human_correction", *(f"inference_result__{name}" for name in heavy))
