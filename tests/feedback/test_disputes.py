from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.utils import timezone

from accounts.choices import Role
from accounts.models import AuditLog, User
from core.problems import Problem
from feedback import services
from feedback.choices import DisputeState, ReviewState, ReviewVerdict, TaskState, TaskVerdict
from feedback.models import Dispute, Feedback, FeedbackTask
from inference.models import InferenceResult
from pipeline import records
from tests.factories import FeedbackTaskFactory, MembershipFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


@pytest.fixture
def second(annotator: User, collection: Any) -> User:
    return MembershipFactory(collection=collection, role=Role.ANNOTATOR).user


def answer(person: User, result: Any, verdict: TaskVerdict, value: float | None = None, **more: Any) -> Feedback:
    """``person`` answers a task of their own about ``result``."""
    slot = FeedbackTask.objects.filter(inference_result=result).count()
    task = FeedbackTaskFactory(inference_result=result, slot=slot)
    actions = None if value is None else chunk(value)
    return services.submit_task(task_id=task.pk, annotator=person, verdict=verdict, actions=actions, **more)


@pytest.fixture
def disputed(result: Any, annotator: User, second: User) -> Dispute:
    answer(annotator, result, TaskVerdict.CORRECT, 0.1, comment="closes late")
    answer(second, result, TaskVerdict.CORRECT, 0.4, comment="closes early")
    return Dispute.objects.get()


def exported(result: Any) -> Any:
    """The correction that every export of ``result`` has."""
    table = records.read(InferenceResult.objects.filter(pk=result.pk), as_of=timezone.now() + timedelta(hours=1))
    corrected = table.column("corrected_json")[0].as_py()
    return corrected and orjson.loads(corrected)


@pytest.mark.parametrize(
    ("first", "other", "reason"),
    [
        ((TaskVerdict.ACCEPT, None), (TaskVerdict.REJECT, None), "verdict"),
        ((TaskVerdict.CORRECT, 0.1), (TaskVerdict.ACCEPT, None), "verdict"),
        ((TaskVerdict.CORRECT, 0.1), (TaskVerdict.CORRECT, 0.4), "actions"),
        ((TaskVerdict.CORRECT, 0.1), (TaskVerdict.CORRECT, 0.15), None),
        ((TaskVerdict.ACCEPT, None), (TaskVerdict.SUCCESS, None), None),
        ((TaskVerdict.REJECT, None), (TaskVerdict.UNCLEAR, None), None),
    ],
)
def test_verdicts_that_contradict_and_corrections_far_apart_are_a_dispute(
    result: Any, annotator: User, second: User, first: Any, other: Any, reason: str | None
) -> None:
    answer(annotator, result, *first)
    answer(second, result, *other)
    assert list(Dispute.objects.values_list("reason", flat=True)) == ([reason] if reason else [])
    assert Feedback.objects.usable().count() == (0 if reason else 2)


def test_the_chosen_answer_is_what_is_exported(disputed: Dispute, result: Any, reviewer: User, annotator: User) -> None:
    assert disputed.distance == pytest.approx(0.3)
    assert exported(result) is None
    late = FeedbackTaskFactory(inference_result=result, slot=7)
    chosen = Feedback.objects.get(annotator=annotator)
    settled = services.settle_dispute(
        dispute_id=disputed.pk, reviewer=reviewer, chosen_id=chosen.pk, comment="See jane@example.org"
    )
    assert (settled.state, settled.chosen, settled.settled_by) == (DisputeState.SETTLED, chosen, reviewer)
    assert "jane@example.org" not in settled.comment
    assert exported(result) == chunk(0.1)
    states = dict(Feedback.objects.values_list("annotator__username", "review_state"))
    assert states[annotator.username] == ReviewState.ACCEPTED
    assert sorted(states.values()) == [ReviewState.ACCEPTED, ReviewState.OVERRULED]
    assert set(Feedback.objects.values_list("reviews__reviewer", flat=True)) == {reviewer.pk}
    late.refresh_from_db()
    assert late.state == TaskState.SKIPPED
    entry = AuditLog.objects.get(action="dispute.settled")
    assert (entry.resource_id, entry.actor_id) == (disputed.pk, reviewer.pk)
    assert entry.changes["chosen"] == [None, str(chosen.pk)]


def test_the_reviewers_own_correction_overrules_everybody(disputed: Dispute, result: Any, reviewer: User) -> None:
    with pytest.raises(Problem) as caught:
        services.settle_dispute(dispute_id=disputed.pk, reviewer=reviewer, actions=[[9.0] * 7] * 8)
    assert caught.value.errors[0].pointer == "/actions/0/0"
    services.settle_dispute(dispute_id=disputed.pk, reviewer=reviewer, actions=chunk(0.2))
    usable = Feedback.objects.usable().get()
    assert (usable.annotator, usable.review_state, usable.disputed) == (reviewer, ReviewState.ACCEPTED, False)
    assert exported(result) == chunk(0.2)


def test_an_answer_that_contradicts_what_was_settled_opens_it_again(
    disputed: Dispute, result: Any, reviewer: User, annotator: User, second: User
) -> None:
    services.settle_dispute(
        dispute_id=disputed.pk, reviewer=reviewer, chosen_id=Feedback.objects.get(annotator=annotator).pk
    )
    answer(MembershipFactory(collection=result.collection, role=Role.ANNOTATOR).user, result, TaskVerdict.CORRECT, 0.12)
    disputed.refresh_from_db()
    assert disputed.state == DisputeState.SETTLED
    answer(MembershipFactory(collection=result.collection, role=Role.ANNOTATOR).user, result, TaskVerdict.REJECT)
    disputed.refresh_from_db()
    assert (disputed.state, disputed.chosen, disputed.settled_by) == (DisputeState.OPEN, None, None)
    assert not Feedback.objects.get(annotator=second).disputed


def test_annotators_who_come_to_agree_end_the_dispute_themselves(
    disputed: Dispute, reviewer: User, annotator: User, second: User
) -> None:
    theirs = Feedback.objects.get(annotator=second)
    with pytest.raises(Problem) as caught:
        services.review_feedback(feedback_id=theirs.pk, reviewer=reviewer, verdict=ReviewVerdict.ACCEPTED)
    assert caught.value.code == "disputed"
    services.review_feedback(
        feedback_id=theirs.pk, reviewer=reviewer, verdict=ReviewVerdict.SENT_BACK, comment="Too far."
    )
    disputed.refresh_from_db()
    assert disputed.state == DisputeState.RESOLVED
    assert Feedback.objects.usable().get().annotator == annotator
    again = services.claim_next_task(annotator=second)
    services.submit_task(task_id=again.pk, annotator=second, verdict=TaskVerdict.CORRECT, actions=chunk(0.12))
    disputed.refresh_from_db()
    assert disputed.state == DisputeState.RESOLVED
    assert Feedback.objects.usable().count() == 2


def test_who_took_part_and_who_may_not_review_cannot_settle(
    disputed: Dispute, result: Any, reviewer: User, annotator: User
) -> None:
    party = MembershipFactory(collection=result.collection, role=Role.REVIEWER).user
    answer(party, result, TaskVerdict.REJECT)
    stranger = MembershipFactory(role=Role.REVIEWER).user
    chosen = Feedback.objects.get(annotator=annotator).pk
    for person, status in ((party, 403), (annotator, 403), (stranger, 404)):
        with pytest.raises(Problem) as caught:
            services.settle_dispute(dispute_id=disputed.pk, reviewer=person, chosen_id=chosen)
        assert caught.value.status == status
    services.settle_dispute(dispute_id=disputed.pk, reviewer=reviewer, chosen_id=chosen)
    with pytest.raises(Problem) as caught:
        services.settle_dispute(dispute_id=disputed.pk, reviewer=reviewer, chosen_id=chosen)
    assert caught.value.status == 409


def test_the_page_sets_the_answers_side_by_side_and_settles_without_javascript(
    disputed: Dispute, reviewer: User, annotator: User, second: User, client: Any
) -> None:
    client.force_login(reviewer)
    assert disputed.get_absolute_url() in client.get("/feedback/review/").content.decode()
    page = client.get(disputed.get_absolute_url()).content.decode()
    for shown in (annotator.username, second.username, "closes late", "closes early", "x 0.300"):
        assert shown in page
    refused = client.post(disputed.get_absolute_url(), {"choice": "nothing"})
    assert refused.status_code == 422
    chosen = Feedback.objects.get(annotator=second)
    done = client.post(disputed.get_absolute_url(), {"choice": str(chosen.pk), "comment": "Nearer to the cube."})
    assert (done.status_code, done.url) == (302, "/feedback/review/")
    assert Feedback.objects.usable().get() == chosen
    assert "Nearer to the cube." in client.get(disputed.get_absolute_url()).content.decode()
    assert disputed.get_absolute_url() not in client.get("/feedback/review/").content.decode()
