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
from feedback.choices import DisputeState, FeedbackType, ReviewState, ReviewVerdict, TaskState, TaskVerdict
from feedback.models import Dispute, Feedback, FeedbackTask
from feedback.services.answers import give_feedback
from feedback.services.disputes import take_turn
from feedback.services.reviewing import record_judgement


@transaction.atomic
def settle_dispute(
    *,
    dispute_id: uuid.UUID,
    reviewer: User,
    chosen_id: uuid.UUID | None = None,
    actions: Any = None,
    comment: str = "",
) -> Dispute:
    """Say which answer stands: one of those that were given (``chosen_id``), or a correction of the reviewer's own.

    The others are overruled and train nothing; nobody is asked about the result any more. Who took part does not
    settle. Raises ``Problem`` 400 (nothing chosen, a chunk that breaks a limit), 403, 404, or 409 where it is settled.
    """
    dispute = _locked(dispute_id, reviewer)
    answers = list(
        Feedback.objects.filter(inference_result=dispute.inference_result_id, disputed=True)
        .select_related("inference_result__collection")
        .select_for_update(of=("self",))
    )
    if any(answer.annotator_id == reviewer.pk for answer in answers):
        raise forbidden("You are one of those who disagree: somebody else has to settle this.")
    if (chosen_id is None) == (actions is None):
        raise invalid("/choice", "Choose the answer that stands, or correct the chunk yourself.")
    cleaned = anonymise(comment.strip())
    if actions is not None:
        chosen, _ = give_feedback(
            principal=reviewer,
            result=dispute.inference_result,
            feedback_type=FeedbackType.CORRECTION,
            verdict=TaskVerdict.CORRECT,
            actions=actions,
        )
    else:
        named = [answer for answer in answers if answer.pk == chosen_id]
        if not named:
            raise invalid("/choice", "This answer is not one of those in dispute.")
        chosen = named[0]
    judge = partial(record_judgement, reviewer=reviewer, comment=cleaned.text)
    for answer in answers:
        if answer.pk != chosen.pk:
            judge(answer, verdict=ReviewVerdict.OVERRULED, state=ReviewState.OVERRULED)
    # A reviewer's fix of the chosen answer stays: its chunk is what stands.
    kept = ReviewState.FIXED if chosen.review_state == ReviewState.FIXED else ReviewState.ACCEPTED
    judge(chosen, verdict=ReviewVerdict.ACCEPTED, state=kept)
    _close_open_tasks(dispute, reviewer)
    before = {"state": dispute.state, "chosen": None}
    dispute.state, dispute.chosen, dispute.comment = DisputeState.SETTLED, chosen, cleaned.text
    dispute.settled_by, dispute.settled_at = reviewer, timezone.now()
    dispute.save(update_fields=["state", "chosen", "comment", "settled_by", "settled_at"])
    changes = audit.difference(before, {"state": dispute.state, "chosen": chosen.pk})
    audit.record("dispute.settled", dispute, changes=changes, actor=reviewer)
    if cleaned.kinds:
        audit.record(
            "feedback.personal_data_removed", dispute, changes={"comment": [cleaned.kinds, None]}, actor=reviewer
        )
    return dispute


def _close_open_tasks(dispute: Dispute, reviewer: User) -> None:
    open_tasks = FeedbackTask.objects.open().filter(inference_result=dispute.inference_result_id)
    for task in open_tasks.select_for_update(of=("self",), skip_locked=True):
        task.state = TaskState.SKIPPED
        task.save(update_fields=["state"])
        changes = {"state": [TaskState.OPEN.value, TaskState.SKIPPED.value]}
        audit.record("feedback_task.settled", task, changes=changes, actor=reviewer)


def _locked(dispute_id: uuid.UUID, reviewer: User) -> Dispute:
    visible = Dispute.objects.restrict(reviewer).filter(pk=dispute_id)
    found = visible.values_list("inference_result", "collection").first()
    if found is None:
        raise not_found("No such dispute.")
    result_id, collection_id = found
    if not Collection.objects.restrict(reviewer, Permission.FEEDBACK_REVIEW).filter(pk=collection_id).exists():
        raise forbidden("You need the permission feedback:review on this collection.")
    take_turn(result_id)  # before any row is locked, as whoever answers does
    dispute: Dispute = (
        Dispute.objects.select_for_update(of=("self",))
        .select_related("inference_result__collection__action_space")
        .get(pk=dispute_id)
    )
    if dispute.state != DisputeState.OPEN:
        raise Problem(409, "dispute_closed", "This is settled already.")
    return dispute
