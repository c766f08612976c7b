from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from accounts.principals import Principal, Service
from core.personal_data import anonymise
from core.problems import invalid
from feedback.choices import TYPES_WITH_ACTIONS, FeedbackType, Preferred
from feedback.corrections import action_dimensions, checked_correction, distance
from feedback.disputes import VERDICT_OF_TYPE
from feedback.models import Feedback, FeedbackTask, GoldAnswer
from feedback.services.disputes import notice_dispute, take_turn
from feedback.signals import feedback_given
from feedback.webhooks import services as webhooks
from feedback.webhooks.choices import WebhookEvent
from inference.live import publish_feedback
from inference.models import InferenceResult

# A corrected chunk this far from the known one, in shares of the dimensions' ranges, scores nothing.
GOLD_DISTANCE = 0.1


@transaction.atomic
def give_feedback(
    *,
    principal: Principal,
    result: InferenceResult,
    feedback_type: FeedbackType,
    actions: Any = None,
    rating: int | None = None,
    preferred: str = "",
    confidence: float | None = None,
    comment: str = "",
    verdict: str = "",
    task: FeedbackTask | None = None,
    seconds_spent: float | None = None,
) -> tuple[Feedback, bool]:
    """Record an answer to ``result``. Returns it, and whether it is new: the same answer given again is the first one.

    A different answer of the same kind by the same caller, or to the same task, replaces the earlier one. Personal data
    in ``comment`` is replaced before anything is stored. Raises ``Problem`` 400 where what the type needs is missing or
    ``actions`` has the wrong shape or breaks a limit.
    """
    if feedback_type in TYPES_WITH_ACTIONS:
        if actions is None:
            raise invalid("/actions", f"A {feedback_type.label.lower()} needs a chunk.")
        actions = checked_correction(actions, result=result)
    elif actions is not None:
        raise invalid("/actions", f"A {feedback_type.label.lower()} has no chunk of its own.")
    if feedback_type == FeedbackType.RATING and rating is None:
        raise invalid("/rating", "Give a rating from 1 to 5.")
    if rating is not None and not 1 <= rating <= 5:
        raise invalid("/rating", "A rating lies between 1 and 5.")
    if confidence is not None and not 0.0 <= confidence <= 1.0:
        raise invalid("/confidence", "A confidence lies between 0 and 1.")
    if feedback_type == FeedbackType.PREFERENCE and preferred not in Preferred.values:
        raise invalid("/preferred", "Say which chunk is preferred: model or human.")
    cleaned = anonymise(comment.strip())
    if feedback_type == FeedbackType.COMMENT and not cleaned.text and not verdict:
        raise invalid("/comment", "A comment needs text.")

    take_turn(result.pk)
    said = list(Feedback.objects.current().filter(inference_result=result).order_by("created_at"))
    feedback = Feedback(
        **_given_by(principal),
        collection_id=result.collection_id,
        inference_result=result,
        task=task,
        feedback_type=feedback_type,
        verdict=verdict,
        human_correction=actions,
        rating=rating,
        preferred=preferred,
        confidence=confidence,
        comment=cleaned.text,
        seconds_spent=seconds_spent,
        gold_score=_gold_score(result, verdict or VERDICT_OF_TYPE.get(feedback_type, ""), actions),
    )
    for earlier in said:
        if _says_the_same(earlier, feedback):
            return earlier, False
    replaced = [earlier for earlier in said if _is_replaced(earlier, feedback)]
    if replaced:
        Feedback.objects.filter(pk__in=[earlier.pk for earlier in replaced]).update(current=False)
    feedback.save(force_insert=True)
    webhooks.announce(
        collection_id=feedback.collection_id, event=WebhookEvent.FEEDBACK_SUBMITTED, data=webhook_data(feedback)
    )
    _record(feedback, cleaned.kinds, principal)
    said = [*(earlier for earlier in said if earlier not in replaced), feedback]
    notice_dispute(result, said, actor=principal if isinstance(principal, User | Service) else None)
    transaction.on_commit(partial(_tell, feedback), robust=True)
    return feedback, True


def webhook_data(feedback: Feedback) -> dict[str, Any]:
    """What a webhook says of an answer: which one and about what, nothing of the person and nothing that they wrote."""
    return {
        "feedback_id": str(feedback.pk),
        "request_id": str(feedback.inference_result.request_id),
        "collection": feedback.inference_result.collection.slug,
        "type": feedback.feedback_type,
        "verdict": feedback.verdict,
        "review_state": feedback.review_state,
    }


def _tell(feedback: Feedback) -> None:
    feedback_given.send_robust(sender=Feedback, collection_id=feedback.collection_id, feedback_id=feedback.pk)
    publish_feedback(
        feedback.collection_id,
        {
            "type": "feedback",
            "request_id": str(feedback.inference_result.request_id),
            "feedback_type": feedback.feedback_type,
            "annotator": feedback.author,
            "created_at": feedback.created_at.isoformat(),
        },
    )


def _given_by(principal: Principal) -> dict[str, Any]:
    if isinstance(principal, Service):
        return {"api_key_id": principal.key_id}
    return {"annotator": principal} if isinstance(principal, User) else {"annotator_id": principal.pk}


def _is_by_the_same(first: Feedback, second: Feedback) -> bool:
    return (first.annotator_id, first.api_key_id) == (second.annotator_id, second.api_key_id)


def _says_the_same(first: Feedback, second: Feedback) -> bool:
    fields = ("feedback_type", "task_id", "verdict", "human_correction", "rating", "preferred", "confidence", "comment")
    return _is_by_the_same(first, second) and all(getattr(first, name) == getattr(second, name) for name in fields)


def _is_replaced(earlier: Feedback, later: Feedback) -> bool:
    """Comments add up, except those to one task."""
    if not _is_by_the_same(earlier, later):
        return False
    is_same_kind = earlier.feedback_type == later.feedback_type != FeedbackType.COMMENT
    return is_same_kind or (later.task_id is not None and earlier.task_id == later.task_id)


def _gold_score(result: InferenceResult, verdict: str, actions: Any) -> float | None:
    gold = GoldAnswer.objects.filter(inference_result=result.pk, enabled=True).first()
    if gold is None or not verdict:
        return None
    if verdict != gold.verdict:
        return 0.0
    if gold.actions is None or actions is None:
        return 1.0
    return max(0.0, 1.0 - distance(actions, gold.actions, action_dimensions(result)) / GOLD_DISTANCE)


def _record(feedback: Feedback, personal_data: dict[str, int], principal: Principal) -> None:
    """The trail says that personal data was removed and of which kind, never what it was; nor does it hold the text."""
    changes: dict[str, Any] = {
        "feedback_type": [None, feedback.feedback_type],
        "request_id": [None, feedback.inference_result.request_id],
    }
    for name in ("verdict", "rating", "preferred", "confidence", "human_correction"):
        if getattr(feedback, name) not in (None, ""):
            changes[name] = [None, getattr(feedback, name)]
    actor = principal if isinstance(principal, User | Service) else None
    audit.record("feedback.given", feedback, changes=changes, actor=actor)
    if personal_data:
        audit.record(
            "feedback.personal_data_removed", feedback, changes={"comment": [personal_data, None]}, actor=actor
        )
