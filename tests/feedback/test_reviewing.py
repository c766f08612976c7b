from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditLog, User
from core.problems import Problem
from feedback import services
from feedback.choices import FeedbackType, ReviewState, ReviewVerdict, TaskState, TaskVerdict
from feedback.models import Feedback
from tests.factories import FeedbackTaskFactory, MembershipFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


@pytest.fixture
def answer(annotator: User, result: Any) -> Feedback:
    task = FeedbackTaskFactory(inference_result=result)
    return services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.CORRECT, actions=chunk(0.2))


def test_an_accepted_answer_is_final(answer: Feedback, reviewer: User) -> None:
    services.review_feedback(feedback_id=answer.pk, reviewer=reviewer, verdict=ReviewVerdict.ACCEPTED)
    final = Feedback.objects.usable().with_final_actions().get()
    assert final.review_state == ReviewState.ACCEPTED
    assert final.final_actions == chunk(0.2)
    assert AuditLog.objects.filter(resource_id=answer.pk).latest("pk").changes["review_state"] == [
        "pending",
        "accepted",
    ]


def test_a_fix_takes_the_place_of_the_annotators_chunk(answer: Feedback, reviewer: User) -> None:
    services.review_feedback(
        feedback_id=answer.pk, reviewer=reviewer, verdict=ReviewVerdict.FIXED, fixed_actions=chunk(0.3)
    )
    final = Feedback.objects.usable().with_final_actions().get()
    assert (final.human_correction, final.final_actions) == (chunk(0.2), chunk(0.3))


def test_an_answer_that_is_sent_back_returns_to_its_author_and_is_not_used(
    answer: Feedback, reviewer: User, annotator: User
) -> None:
    services.review_feedback(
        feedback_id=answer.pk, reviewer=reviewer, verdict=ReviewVerdict.SENT_BACK, comment="The gripper closes late."
    )
    assert not Feedback.objects.usable().exists()
    task = services.claim_next_task(annotator=annotator)
    assert (task, task.state) == (answer.task, TaskState.ASSIGNED)
    better = services.submit_task(
        task_id=task.pk, annotator=annotator, verdict=TaskVerdict.CORRECT, actions=chunk(0.25)
    )
    assert Feedback.objects.usable().get() == better
    assert better.review_state == ReviewState.PENDING


@pytest.mark.parametrize(
    ("judgement", "pointer"),
    [
        ({"verdict": ReviewVerdict.SENT_BACK, "comment": " "}, "/comment"),
        ({"verdict": ReviewVerdict.FIXED}, "/fixed_actions"),
        ({"verdict": ReviewVerdict.FIXED, "fixed_actions": [[9.0] * 7] * 8}, "/fixed_actions/0/0"),
    ],
)
def test_a_judgement_without_its_reason_is_refused(
    answer: Feedback, reviewer: User, judgement: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Problem) as caught:
        services.review_feedback(feedback_id=answer.pk, reviewer=reviewer, **judgement)
    assert caught.value.errors[0].pointer == pointer
    answer.refresh_from_db()
    assert answer.review_state == ReviewState.PENDING


def test_nobody_reviews_their_own_answer(reviewer: User, result: Any) -> None:
    own, _ = services.give_feedback(principal=reviewer, result=result, feedback_type=FeedbackType.SUCCESS)
    with pytest.raises(Problem) as caught:
        services.review_feedback(feedback_id=own.pk, reviewer=reviewer, verdict=ReviewVerdict.ACCEPTED)
    assert caught.value.status == 403


def test_annotators_do_not_review_and_strangers_see_nothing(answer: Feedback, annotator: User) -> None:
    other = MembershipFactory(collection=answer.collection, role="annotator").user
    stranger = MembershipFactory(role="reviewer").user
    for person, status in ((other, 403), (stranger, 404)):
        with pytest.raises(Problem) as caught:
            services.review_feedback(feedback_id=answer.pk, reviewer=person, verdict=ReviewVerdict.ACCEPTED)
        assert caught.value.status == status


def test_a_fixed_answer_becomes_a_known_one(answer: Feedback, reviewer: User) -> None:
    services.review_feedback(
        feedback_id=answer.pk, reviewer=reviewer, verdict=ReviewVerdict.FIXED, fixed_actions=chunk(0.3)
    )
    gold = services.make_gold(feedback_id=answer.pk, reviewer=reviewer)
    assert (gold.verdict, gold.actions, gold.enabled) == ("correct", chunk(0.3), True)
