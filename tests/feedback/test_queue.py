from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from accounts.choices import Role
from accounts.models import AuditLog, User
from collections_app.models import Collection, Membership
from core.problems import Problem
from feedback import services
from feedback.choices import SkipReason, TaskState, TaskVerdict
from feedback.models import Draft, Feedback, FeedbackTask, GoldAnswer
from tests.factories import CollectionFactory, FeedbackTaskFactory, InferenceResultFactory, MembershipFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


def task_in(collection: Collection, **fields: Any) -> FeedbackTask:
    return FeedbackTaskFactory(inference_result__collection=collection, **fields)


@pytest.fixture
def second(collection: Collection) -> User:
    return MembershipFactory(collection=collection, role=Role.ANNOTATOR).user


def test_the_most_useful_task_comes_first_and_is_held_for_half_an_hour(collection: Collection, annotator: User) -> None:
    task_in(collection, priority=1.0)
    best = task_in(collection, priority=2.0)
    claimed = services.claim_next_task(annotator=annotator)
    assert claimed == best
    assert (claimed.state, claimed.assignee) == (TaskState.ASSIGNED, annotator)
    assert timedelta(minutes=29) < claimed.assigned_until - timezone.now() <= timedelta(minutes=30)
    assert AuditLog.objects.get(resource_id=best.pk).action == "feedback_task.claimed"


def test_asking_again_gives_the_task_that_is_already_held(collection: Collection, annotator: User) -> None:
    task_in(collection)
    task_in(collection)
    assert services.claim_next_task(annotator=annotator) == services.claim_next_task(annotator=annotator)


def test_the_best_task_of_all_my_collections_is_taken_and_none_of_others(
    collection: Collection, annotator: User
) -> None:
    task_in(collection, priority=1.0)
    mine_too = MembershipFactory(user=annotator, role=Role.ANNOTATOR).collection
    better = task_in(mine_too, priority=2.0)
    task_in(CollectionFactory(), priority=3.0)
    task_in(MembershipFactory(user=annotator, role=Role.VIEWER).collection, priority=3.0)
    assert services.claim_next_task(annotator=annotator) == better
    assert services.claim_next_task(annotator=annotator, collection=collection).collection == collection


def test_what_one_holds_in_a_collection_that_one_has_left_is_not_in_the_way_of_other_work(
    collection: Collection, annotator: User
) -> None:
    held = task_in(collection, priority=2.0)
    mine_too = MembershipFactory(user=annotator, role=Role.ANNOTATOR).collection
    other = task_in(mine_too, priority=1.0)
    assert services.claim_next_task(annotator=annotator) == held
    Membership.objects.filter(user=annotator, collection=collection).update(role=Role.VIEWER)
    assert services.claim_next_task(annotator=annotator) == other


def test_no_work_is_no_task(annotator: User) -> None:
    assert services.claim_next_task(annotator=annotator) is None


@pytest.mark.django_db(transaction=True)
def test_annotators_who_ask_at_the_same_moment_get_different_tasks(
    collection: Collection, in_threads: Callable[..., list[Any]]
) -> None:
    people = [MembershipFactory(collection=collection, role=Role.ANNOTATOR).user for _ in range(8)]
    tasks = {task_in(collection).pk for _ in range(8)}
    claimed = in_threads(lambda person: services.claim_next_task(annotator=person), people)
    assert {task.pk for task in claimed} == tasks
    assert FeedbackTask.objects.filter(state=TaskState.ASSIGNED).values("assignee").distinct().count() == 8


@pytest.mark.django_db(transaction=True)
def test_one_task_claimed_by_two_at_the_same_moment_goes_to_one(
    collection: Collection, in_threads: Callable[..., list[Any]]
) -> None:
    people = [MembershipFactory(collection=collection, role=Role.ANNOTATOR).user for _ in range(4)]
    task = task_in(collection)

    def claim(person: User) -> str:
        try:
            return services.claim_task(task_id=task.pk, annotator=person).assignee.username
        except Problem as problem:
            return problem.code

    outcome = in_threads(claim, people)
    assert sorted(outcome).count("task_held") == 3
    task.refresh_from_db()
    assert task.assignee.username in outcome


@pytest.fixture
def in_threads() -> Callable[..., list[Any]]:
    """Run ``work`` for each of ``items`` at the same moment, each with a database connection of its own."""

    def run(work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        barrier = Barrier(len(items))

        def one(item: Any) -> Any:
            try:
                connection.ensure_connection()
                barrier.wait(timeout=10)
                return work(item)
            finally:
                connection.close()

        with ThreadPoolExecutor(len(items)) as pool:
            return list(pool.map(one, items))

    return run


def test_a_task_whose_time_is_over_returns_to_the_queue(collection: Collection, annotator: User, second: User) -> None:
    task = task_in(collection)
    with time_machine.travel(timezone.now() - timedelta(minutes=31)):
        services.claim_task(task_id=task.pk, annotator=annotator)
    assert services.claim_next_task(annotator=second) == task
    with pytest.raises(Problem, match="is working on this task") as caught:
        services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)
    assert caught.value.status == 409


def test_a_result_for_two_annotators_is_never_given_twice_to_one(
    collection: Collection, annotator: User, second: User
) -> None:
    result = InferenceResultFactory(collection=collection)
    slots = [FeedbackTaskFactory(inference_result=result, slot=slot) for slot in range(2)]
    first = services.claim_next_task(annotator=annotator)
    services.submit_task(task_id=first.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)
    assert services.claim_next_task(annotator=annotator) is None
    assert {first, services.claim_next_task(annotator=second)} == set(slots)


def test_who_is_far_ahead_of_the_other_annotators_still_gets_the_best_of_what_is_left(
    collection: Collection, annotator: User, second: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedback.selectors.LOOKED_AT_FIRST", 2)
    for priority in (9.0, 8.0, 7.0):
        result = InferenceResultFactory(collection=collection)
        FeedbackTaskFactory(inference_result=result, priority=priority, state=TaskState.DONE, assignee=annotator)
        FeedbackTaskFactory(inference_result=result, priority=priority, slot=1)
    skipped, best, *_rest = [task_in(collection, priority=priority) for priority in (6.0, 5.0, 4.0)]
    services.skip_task(task_id=skipped.pk, annotator=annotator, reason=SkipReason.IMAGE)
    assert services.claim_next_task(annotator=annotator) == best
    assert services.claim_next_task(annotator=second).priority == 9.0


def test_a_skipped_task_is_offered_to_others_until_three_have_passed(collection: Collection, annotator: User) -> None:
    task = task_in(collection)
    people = [annotator, *(MembershipFactory(collection=collection, role=Role.ANNOTATOR).user for _ in range(2))]
    for person in people:
        assert services.claim_next_task(annotator=person) == task
        services.skip_task(task_id=task.pk, annotator=person, reason=SkipReason.IMAGE)
        assert services.claim_next_task(annotator=person) is None
    task.refresh_from_db()
    assert task.state == TaskState.SKIPPED


def test_drafts_and_notes_are_kept_without_personal_data_and_the_trail_says_so_once(
    collection: Collection, annotator: User
) -> None:
    task = task_in(collection)
    for end in ("", " why", " why it slipped."):
        content = {"comment": f"Ask jane.doe@example.com{end}"}
        services.save_draft(task_id=task.pk, annotator=annotator, content=content)
    assert Draft.objects.get().content == {"comment": "Ask <EMAIL_ADDRESS> why it slipped."}
    services.skip_task(task_id=task.pk, annotator=annotator, reason=SkipReason.OTHER, note="joe@example.com knows")
    assert task.skips.get().note == "<EMAIL_ADDRESS> knows"
    removed = AuditLog.objects.filter(action="feedback.personal_data_removed").order_by("pk")
    assert [entry.changes for entry in removed] == [
        {"draft": [{"EMAIL_ADDRESS": 1}, None]},
        {"note": [{"EMAIL_ADDRESS": 1}, None]},
    ]


def test_another_reason_to_skip_is_written_out(collection: Collection, annotator: User) -> None:
    task = task_in(collection)
    with pytest.raises(Problem) as caught:
        services.skip_task(task_id=task.pk, annotator=annotator, reason=SkipReason.OTHER)
    assert caught.value.errors[0].pointer == "/note"


def test_a_submitted_correction_is_feedback_with_the_time_it_took(collection: Collection, annotator: User) -> None:
    task = task_in(collection)
    with time_machine.travel(timezone.now() - timedelta(seconds=40), tick=False):
        services.claim_task(task_id=task.pk, annotator=annotator)
    given = services.submit_task(
        task_id=task.pk,
        annotator=annotator,
        verdict=TaskVerdict.CORRECT,
        actions=chunk(0.2),
        rating=3,
        active_seconds=12.5,
    )
    assert (given.feedback_type, given.verdict, given.rating, given.task) == ("correction", "correct", 3, task)
    assert given.seconds_spent == 12.5
    task.refresh_from_db()
    assert (task.state, task.assignee, task.assigned_until) == (TaskState.DONE, annotator, None)


def test_claimed_seconds_are_never_more_than_went_by(collection: Collection, annotator: User) -> None:
    task = task_in(collection)
    services.claim_task(task_id=task.pk, annotator=annotator)
    given = services.submit_task(
        task_id=task.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT, active_seconds=9999.0
    )
    assert given.seconds_spent < 60


@pytest.mark.parametrize(
    ("verdict", "feedback_type", "preferred"),
    [
        (TaskVerdict.ACCEPT, "preference", "model"),
        (TaskVerdict.REJECT, "failure", ""),
        (TaskVerdict.SUCCESS, "success", ""),
        (TaskVerdict.FAILURE, "failure", ""),
        (TaskVerdict.UNCLEAR, "comment", ""),
    ],
)
def test_a_verdict_becomes_the_feedback_of_its_kind(
    collection: Collection, annotator: User, verdict: TaskVerdict, feedback_type: str, preferred: str
) -> None:
    given = services.submit_task(task_id=task_in(collection).pk, annotator=annotator, verdict=verdict)
    assert (given.feedback_type, given.verdict, given.preferred) == (feedback_type, verdict, preferred)


def test_a_refused_correction_leaves_the_task_with_its_annotator(collection: Collection, annotator: User) -> None:
    task = task_in(collection)
    services.claim_task(task_id=task.pk, annotator=annotator)
    with pytest.raises(Problem):
        services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.CORRECT, actions=chunk(steps=3))
    task.refresh_from_db()
    assert (task.state, task.assignee) == (TaskState.ASSIGNED, annotator)
    assert not Feedback.objects.exists()


def test_an_answered_task_is_closed(collection: Collection, annotator: User, second: User) -> None:
    task = task_in(collection)
    services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)
    for person in (annotator, second):
        with pytest.raises(Problem) as caught:
            services.submit_task(task_id=task.pk, annotator=person, verdict=TaskVerdict.REJECT)
        assert (caught.value.status, caught.value.code) == (409, "task_closed")


def test_a_draft_outlives_the_assignment_and_ends_with_the_answer(
    collection: Collection, annotator: User, second: User
) -> None:
    task = task_in(collection)
    with time_machine.travel(timezone.now() - timedelta(hours=2)):
        services.claim_task(task_id=task.pk, annotator=annotator)
        services.save_draft(task_id=task.pk, annotator=annotator, content={"comment": "half a thought"})
    services.claim_task(task_id=task.pk, annotator=second)
    services.save_draft(task_id=task.pk, annotator=annotator, content={"comment": "a whole one"})
    services.release_task(task_id=task.pk, annotator=second)
    assert Draft.objects.get(annotator=annotator).content == {"comment": "a whole one"}
    services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)
    assert not Draft.objects.exists()


def test_a_saved_draft_keeps_the_task_longer(collection: Collection, annotator: User) -> None:
    task = task_in(collection)
    with time_machine.travel(timezone.now() - timedelta(minutes=20)):
        services.claim_task(task_id=task.pk, annotator=annotator)
    services.save_draft(task_id=task.pk, annotator=annotator, content={})
    task.refresh_from_db()
    assert task.assigned_until - timezone.now() > timedelta(minutes=29)


def test_only_its_holder_gives_a_task_back(collection: Collection, annotator: User, second: User) -> None:
    task = task_in(collection)
    services.claim_task(task_id=task.pk, annotator=annotator)
    with pytest.raises(Problem):
        services.release_task(task_id=task.pk, annotator=second)
    services.release_task(task_id=task.pk, annotator=annotator)
    assert services.claim_next_task(annotator=second) == task


def test_a_known_answer_is_asked_after_nineteen_tasks_and_only_once(collection: Collection, annotator: User) -> None:
    gold = GoldAnswer.objects.create(
        inference_result=InferenceResultFactory(collection=collection), collection=collection, verdict="accept"
    )
    asked = []
    for _ in range(45):
        task_in(collection)
        task = services.claim_next_task(annotator=annotator)
        asked.append(task.inference_result_id)
        services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)
    assert asked.index(gold.inference_result_id) == 19
    assert asked.count(gold.inference_result_id) == 1
    assert Feedback.objects.get(inference_result=gold.inference_result_id).gold_score == 1.0


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR])
def test_who_may_only_read_cannot_take_a_task(collection: Collection, role: Role) -> None:
    person = MembershipFactory(collection=collection, role=role).user
    task = task_in(collection)
    assert services.claim_next_task(annotator=person) is None
    with pytest.raises(Problem) as caught:
        services.claim_task(task_id=task.pk, annotator=person)
    assert caught.value.status == 404
