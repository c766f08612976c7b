"""What annotators see of what became of their answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.choices import Role
from accounts.models import User
from collections_app.models import Collection, Membership
from feedback import own_answers, services
from feedback.choices import ReviewVerdict, TaskVerdict
from feedback.models import Dispute, Feedback, FeedbackTask
from tests.factories import FeedbackTaskFactory, InferenceResultFactory, MembershipFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


@pytest.fixture
def task(collection: Collection) -> FeedbackTask:
    return FeedbackTaskFactory(inference_result=InferenceResultFactory(collection=collection, episode=None))


@pytest.fixture
def answer(task: FeedbackTask, annotator: User) -> Feedback:
    return services.submit_task(
        task_id=task.pk,
        annotator=annotator,
        verdict=TaskVerdict.CORRECT,
        actions=chunk(0.2),
        rating=2,
        confidence=0.75,
        comment="Too high.",
    )


@pytest.fixture
def page(client: Client, annotator: User) -> Any:
    """The text of a page as the annotator sees it."""
    client.force_login(annotator)
    return lambda path: client.get(path).content.decode()


def editor_of(client: Client, path: str) -> tuple[float, Any]:
    """The first number of the chunk on a page, and of the one that is drawn beside it."""
    editor = client.get(path).context["editor"]
    compared = editor.data["compared"]
    return float(editor.rows[0][0].value), compared and compared[0][0]


def fix(answer: Feedback, reviewer: User, value: float = 0.3) -> None:
    services.review_feedback(
        feedback_id=answer.pk,
        reviewer=reviewer,
        verdict=ReviewVerdict.FIXED,
        fixed_actions=chunk(value),
        comment="Stay above the rim.",
    )


def test_a_fixed_answer_is_shown_to_its_author_with_the_reason_and_beside_what_stands(
    client: Client, page: Any, answer: Feedback, reviewer: User
) -> None:
    assert "What reviewers made of your answers" not in page("/feedback/")
    fix(answer, reviewer)
    queue = page("/feedback/")
    assert "What reviewers made of your answers" in queue
    assert "Stay above the rim." in queue
    path = f"/feedback/{answer.task_id}/"
    assert path in queue
    assert f"{reviewer} fixed your answer." in page(path)
    assert editor_of(client, path) == (0.3, 0.2)


def test_an_overruled_answer_is_shown_with_the_verdict_that_stands(
    client: Client, page: Any, answer: Feedback, reviewer: User, collection: Collection
) -> None:
    other = MembershipFactory(collection=collection, role=Role.ANNOTATOR).user
    slot = FeedbackTaskFactory(inference_result=answer.inference_result, slot=1)
    chosen = services.submit_task(task_id=slot.pk, annotator=other, verdict=TaskVerdict.CORRECT, actions=chunk(0.5))
    services.settle_dispute(
        dispute_id=Dispute.objects.get().pk, reviewer=reviewer, chosen_id=chosen.pk, comment="The cup is taller."
    )
    assert "The cup is taller." in page("/feedback/")
    path = f"/feedback/{answer.task_id}/"
    shown = page(path)
    assert "your answer was overruled: “Correct” stands." in shown
    assert "The cup is taller." in shown
    assert other.username not in shown
    assert editor_of(client, path) == (0.5, 0.2)
    client.force_login(other)
    assert "What reviewers made of your answers" not in client.get("/feedback/").content.decode()


def test_where_the_dispute_is_open_again_nothing_is_said_to_stand(
    page: Any, answer: Feedback, reviewer: User, collection: Collection
) -> None:
    others = [MembershipFactory(collection=collection, role=Role.ANNOTATOR).user for _ in range(2)]
    first, second = (FeedbackTaskFactory(inference_result=answer.inference_result, slot=slot) for slot in (1, 2))
    chosen = services.submit_task(task_id=first.pk, annotator=others[0], verdict=TaskVerdict.REJECT)
    services.settle_dispute(dispute_id=Dispute.objects.get().pk, reviewer=reviewer, chosen_id=chosen.pk)
    FeedbackTask.objects.filter(pk=second.pk).update(state="open")
    services.submit_task(task_id=second.pk, annotator=others[1], verdict=TaskVerdict.ACCEPT)
    assert "Your answer was overruled in a dispute, which is open again." in page(f"/feedback/{answer.task_id}/")


def test_what_was_sent_back_is_gone_on_with_from_what_was_said(
    client: Client, page: Any, answer: Feedback, reviewer: User
) -> None:
    services.review_feedback(
        feedback_id=answer.pk, reviewer=reviewer, verdict=ReviewVerdict.SENT_BACK, comment="Lower, please."
    )
    path = f"/feedback/{answer.task_id}/"
    shown = page(path)
    assert "Lower, please." in shown
    assert editor_of(client, path) == (0.2, None)
    assert "Too high." in shown
    for name, value in (("verdict", "correct"), ("rating", "2"), ("confidence", "0.75")):
        assert f'name="{name}" value="{value}" checked' in shown
    services.save_draft(task_id=answer.task_id, annotator=answer.annotator, content={"actions": chunk(0.1)})
    assert editor_of(client, path) == (0.1, None)


def test_an_answer_that_stands_is_shown_to_its_author_as_it_was_given(
    client: Client, page: Any, answer: Feedback, reviewer: User
) -> None:
    path = f"/feedback/{answer.task_id}/"
    assert "You have answered this task; here is what you said." in page(path)
    assert editor_of(client, path) == (0.2, None)
    client.force_login(reviewer)
    assert editor_of(client, path) == (0.0, None)


def test_what_was_changed_long_ago_or_in_a_collection_that_one_has_left_is_not_listed(
    answer: Feedback, reviewer: User, annotator: User
) -> None:
    fix(answer, reviewer)
    (changed,) = own_answers.changed_answers(annotator)
    assert (changed.answer, changed.review.reviewer) == (answer, reviewer)
    Feedback.objects.update(reviewed_at=timezone.now() - own_answers.SHOWN_FOR - timedelta(hours=1))
    assert own_answers.changed_answers(annotator) == []
    Feedback.objects.update(reviewed_at=timezone.now())
    Membership.objects.filter(user=annotator).delete()
    assert own_answers.changed_answers(annotator) == []


def test_the_queue_pages_queries_do_not_grow_with_what_was_changed_and_sent_back(
    client: Client, annotator: User, reviewer: User, collection: Collection, django_assert_num_queries: Any
) -> None:
    def judge_two() -> None:
        for verdict in (ReviewVerdict.FIXED, ReviewVerdict.SENT_BACK):
            result = InferenceResultFactory(collection=collection)
            given = services.submit_task(
                task_id=FeedbackTaskFactory(inference_result=result).pk,
                annotator=annotator,
                verdict=TaskVerdict.CORRECT,
                actions=chunk(0.2),
            )
            services.review_feedback(
                feedback_id=given.pk,
                reviewer=reviewer,
                verdict=verdict,
                comment="Look again.",
                fixed_actions=chunk(0.3) if verdict == ReviewVerdict.FIXED else None,
            )

    client.force_login(annotator)
    judge_two()
    with django_assert_num_queries(12):
        client.get("/feedback/")
    for _ in range(4):
        judge_two()
    with django_assert_num_queries(12):
        client.get("/feedback/")
