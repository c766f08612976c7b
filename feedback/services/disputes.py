from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts import audit
from feedback import disputes
from feedback.choices import REFUSED, DisputeState
from feedback.corrections import action_dimensions
from feedback.models import Dispute, Feedback
from inference.models import InferenceResult


def take_turn(result_id: uuid.UUID) -> None:
    """Hold back everybody else's answers to, and reviews of, one result until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"feedback {result_id}"])


def notice_dispute(result: InferenceResult, said: Sequence[Feedback], *, actor: Any = None) -> None:
    """Open a dispute where people disagree about ``result`` by now; close the one that they have ended themselves.

    Called in its turn (``take_turn``), after each change of what people say of a result. ``said`` are all current
    answers to it, the oldest first.
    """
    opinions = [answer for answer in said if answer.annotator_id and answer.review_state not in REFUSED]
    if len(said) < 2:  # nobody was there to disagree with
        return
    dispute = Dispute.objects.select_for_update().filter(inference_result=result).first()
    found = None
    if len({answer.annotator_id for answer in opinions}) > 1:
        found = disputes.find(opinions, action_dimensions(result))
    if found is None:
        if dispute is not None and dispute.state == DisputeState.OPEN:
            _change(dispute, "dispute.resolved", actor, state=DisputeState.RESOLVED)
            Feedback.objects.filter(inference_result=result, disputed=True).update(disputed=False)
        return
    facts: dict[str, Any] = {"state": DisputeState.OPEN, "reason": found.reason, "distance": found.distance}
    if dispute is None:
        dispute = Dispute.objects.create(
            collection_id=result.collection_id, inference_result=result, opened_at=timezone.now(), **facts
        )
        audit.record("dispute.opened", dispute, changes=audit.difference({}, _facts(dispute)), actor=actor)
    elif dispute.state == DisputeState.OPEN:
        Dispute.objects.filter(pk=dispute.pk).update(**facts)
    else:
        nothing = {"chosen": None, "settled_by": None, "settled_at": None, "comment": ""}
        _change(dispute, "dispute.opened_again", actor, opened_at=timezone.now(), **facts, **nothing)
    Feedback.objects.filter(pk__in=[answer.pk for answer in found.answers]).update(disputed=True)


def _change(dispute: Dispute, action: str, actor: Any, **fields: Any) -> None:
    before = _facts(dispute)
    for name, value in fields.items():
        setattr(dispute, name, value)
    dispute.save(update_fields=list(fields))
    audit.record(action, dispute, changes=audit.difference(before, _facts(dispute)), actor=actor)


def _facts(dispute: Dispute) -> dict[str, Any]:
    return {"state": str(dispute.state), "reason": str(dispute.reason), "chosen": dispute.chosen_id}
