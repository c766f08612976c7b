from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from collections_app.models import Collection
from feedback import services
from feedback.choices import TaskState, TaskVerdict
from feedback.chunk_editor import chunk_editor
from feedback.models import Draft, Feedback, FeedbackTask, Review, TaskSkip
from tests.factories import FeedbackTaskFactory, InferenceResultFactory, MembershipFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    def client_of(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return client_of


@pytest.fixture
def task(collection: Collection) -> FeedbackTask:
    return FeedbackTaskFactory(inference_result=InferenceResultFactory(collection=collection, episode=None))


def as_fields(actions: list[list[float]]) -> dict[str, str]:
    return {
        f"a-{step}-{dimension}": str(value) for step, row in enumerate(actions) for dimension, value in enumerate(row)
    }


def test_every_page_asks_strangers_to_sign_in(client: Client, task: FeedbackTask) -> None:
    for path in ("/feedback/", f"/feedback/{task.pk}/", "/feedback/review/"):
        response = client.get(path)
        assert response.status_code == 302
        assert response["Location"].startswith("/accounts/login") or "login" in response["Location"]


def test_a_task_is_404_for_people_of_other_collections_and_403_for_readers(
    signed_in: Any, task: FeedbackTask, viewer: User
) -> None:
    stranger = MembershipFactory(role="annotator").user
    assert signed_in(stranger).get(f"/feedback/{task.pk}/").status_code == 404
    assert signed_in(viewer).get(f"/feedback/{task.pk}/").status_code == 403


def test_the_queue_shows_what_waits_with_its_score_explained(
    signed_in: Any, annotator: User, collection: Collection
) -> None:
    result = InferenceResultFactory(collection=collection, confidence=0.2, instruction="stack the cups")
    services.flag_result(principal=annotator, result=result)
    page = signed_in(annotator).get("/feedback/").content.decode()
    assert "stack the cups" in page
    assert "3.80" in page
    assert "how unsure the policy was" in page
    assert "1 open" in page


def test_looking_at_a_task_does_not_take_it(signed_in: Any, task: FeedbackTask, annotator: User) -> None:
    page = signed_in(annotator).get(f"/feedback/{task.pk}/").content.decode()
    assert "Take this task" in page
    task.refresh_from_db()
    assert task.state == TaskState.OPEN


def test_the_next_task_is_one_press_away(signed_in: Any, task: FeedbackTask, annotator: User) -> None:
    response = signed_in(annotator).post("/feedback/next/")
    assert (response.status_code, response["Location"]) == (302, f"/feedback/{task.pk}/")
    task.refresh_from_db()
    assert task.assignee == annotator


def test_a_form_without_javascript_corrects_a_chunk_and_leads_to_the_next(
    signed_in: Any, task: FeedbackTask, annotator: User, collection: Collection
) -> None:
    following = FeedbackTaskFactory(inference_result__collection=collection)
    client = signed_in(annotator)
    client.post(f"/feedback/{task.pk}/take/")
    answer = {"verdict": "correct", "rating": "4", "confidence": "0.75", "comment": "Too high.", "active_seconds": ""}
    response = client.post(f"/feedback/{task.pk}/", as_fields(chunk(0.2)) | answer)
    assert (response.status_code, response["Location"]) == (302, f"/feedback/{following.pk}/")
    given = Feedback.objects.get()
    assert (given.human_correction, given.rating, given.confidence) == (chunk(0.2), 4, 0.75)
    assert (given.comment, given.annotator, given.task) == ("Too high.", annotator, task)


def test_a_wrong_number_is_marked_in_the_table_and_nothing_typed_is_lost(
    signed_in: Any, task: FeedbackTask, annotator: User
) -> None:
    wrong = as_fields(chunk(0.2)) | {"a-3-2": "0.9", "a-4-0": "", "verdict": "correct", "comment": "keep me"}
    response = signed_in(annotator).post(f"/feedback/{task.pk}/", wrong)
    page = response.content.decode()
    assert response.status_code == 422
    assert 'name="a-4-0" value=""' in page
    assert "Give a finite number." in page
    response = signed_in(annotator).post(f"/feedback/{task.pk}/", wrong | {"a-4-0": "0.2"})
    page = response.content.decode()
    assert "z goes above its limit of 0.6 m." in page
    assert 'aria-describedby="a-3-2-error"' in page
    assert "keep me" in page
    assert not Feedback.objects.exists()


def test_no_verdict_is_asked_for(signed_in: Any, task: FeedbackTask, annotator: User) -> None:
    response = signed_in(annotator).post(f"/feedback/{task.pk}/", as_fields(chunk()))
    assert response.status_code == 422
    assert "Choose a verdict." in response.content.decode()


def test_a_task_that_somebody_else_holds_cannot_be_submitted(
    signed_in: Any, task: FeedbackTask, annotator: User, reviewer: User
) -> None:
    services.claim_task(task_id=task.pk, annotator=reviewer)
    client = signed_in(annotator)
    assert f"{reviewer} is working on it" in client.get(f"/feedback/{task.pk}/").content.decode()
    response = client.post(f"/feedback/{task.pk}/", {"verdict": "accept"}, follow=True)
    assert f"{reviewer} is working on this task." in response.content.decode()
    assert not Feedback.objects.exists()


def test_a_saved_draft_is_in_the_form_when_its_author_returns(
    signed_in: Any, task: FeedbackTask, annotator: User
) -> None:
    services.claim_task(task_id=task.pk, annotator=annotator)
    content = {"actions": chunk(0.1234), "verdict": "correct", "comment": "half a thought", "rating": "2"}
    saved = signed_in(annotator).post(f"/feedback/{task.pk}/draft/", content, content_type="application/json")
    assert saved.status_code == 200
    page = signed_in(annotator).get(f"/feedback/{task.pk}/").content.decode()
    assert 'name="a-0-0" value="0.1234"' in page
    assert "half a thought" in page
    assert 'value="2" checked' in page


def test_a_draft_after_the_session_ended_is_401_for_the_script(client: Client, task: FeedbackTask) -> None:
    response = client.post(f"/feedback/{task.pk}/draft/", {}, content_type="application/json")
    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"
    assert not Draft.objects.exists()


def test_a_malformed_draft_is_400(signed_in: Any, task: FeedbackTask, annotator: User) -> None:
    for body in (b"{", b"[]", b'"text"'):
        response = signed_in(annotator).post(f"/feedback/{task.pk}/draft/", body, content_type="application/json")
        assert response.status_code == 400


@pytest.mark.parametrize("actions", [5, [1, 2], {"0": []}, [[0.1]], None])
def test_a_draft_of_another_shape_does_not_keep_its_author_from_the_page(
    signed_in: Any, task: FeedbackTask, annotator: User, actions: Any
) -> None:
    services.save_draft(task_id=task.pk, annotator=annotator, content={"actions": actions, "rating": [], "comment": 7})
    assert signed_in(annotator).get(f"/feedback/{task.pk}/").status_code == 200


def test_skipping_needs_a_reason_and_leads_on(
    signed_in: Any, task: FeedbackTask, annotator: User, collection: Collection
) -> None:
    following = FeedbackTaskFactory(inference_result__collection=collection, priority=-1.0)
    client = signed_in(annotator)
    client.post("/feedback/next/")
    assert client.post(f"/feedback/{task.pk}/skip/", {})["Location"] == f"/feedback/{task.pk}/"
    response = client.post(f"/feedback/{task.pk}/skip/", {"reason": "image"})
    assert response["Location"] == f"/feedback/{following.pk}/"
    assert TaskSkip.objects.get().reason == "image"


def test_the_live_page_flags_a_result_once(signed_in: Any, annotator: User, viewer: User, result: Any) -> None:
    path = f"/feedback/flag/{result.request_id}"
    first = signed_in(annotator).post(path)
    assert (first.status_code, signed_in(annotator).post(path).status_code) == (201, 200)
    task = FeedbackTask.objects.get()
    assert first.json() == {"task": f"/feedback/{task.pk}/"}
    assert (task.reason, task.inference_result_id) == ("flagged", result.pk)
    assert signed_in(viewer).post(path).status_code == 403
    assert Client().post(path).status_code == 401


def test_the_page_costs_a_fixed_number_of_queries(
    signed_in: Any, annotator: User, django_assert_max_num_queries: Any
) -> None:
    result = InferenceResultFactory(collection=MembershipFactory(user=annotator, role="annotator").collection)
    for step in range(1, 10):
        InferenceResultFactory(
            collection=result.collection, episode=result.episode, robot=result.robot, step=result.step + step
        )
    task = FeedbackTaskFactory(inference_result=result)
    client = signed_in(annotator)
    with django_assert_max_num_queries(10):
        client.get(f"/feedback/{task.pk}/")


def test_text_from_outside_is_escaped_everywhere(signed_in: Any, annotator: User, collection: Collection) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    result = InferenceResultFactory(collection=collection, instruction=evil, model_name=evil)
    task = FeedbackTaskFactory(inference_result=result)
    client = signed_in(annotator)
    for path in ("/feedback/", f"/feedback/{task.pk}/"):
        assert evil not in client.get(path).content.decode()


@pytest.fixture
def answer(task: FeedbackTask, annotator: User) -> Feedback:
    return services.submit_task(
        task_id=task.pk, annotator=annotator, verdict=TaskVerdict.CORRECT, actions=chunk(0.2), comment="Too high."
    )


def test_a_reviewer_sees_the_answer_and_accepts_it(signed_in: Any, answer: Feedback, reviewer: User) -> None:
    client = signed_in(reviewer)
    assert f"/feedback/review/{answer.pk}/" in client.get("/feedback/review/").content.decode()
    page = client.get(f"/feedback/review/{answer.pk}/").content.decode()
    assert "Too high." in page
    assert 'name="a-0-0" value="0.2"' in page
    response = client.post(f"/feedback/review/{answer.pk}/", as_fields(chunk(0.2)) | {"verdict": "accepted"})
    assert response["Location"] == "/feedback/review/"
    assert Review.objects.get().verdict == "accepted"


def test_a_reviewers_fix_is_their_own_chunk(signed_in: Any, answer: Feedback, reviewer: User) -> None:
    signed_in(reviewer).post(f"/feedback/review/{answer.pk}/", as_fields(chunk(0.3)) | {"verdict": "fixed"})
    assert Review.objects.get().fixed_actions == chunk(0.3)


def test_a_changed_chunk_is_not_accepted_as_if_it_had_not_been(
    signed_in: Any, task: FeedbackTask, annotator: User, reviewer: User
) -> None:
    given = services.submit_task(task_id=task.pk, annotator=annotator, verdict=TaskVerdict.CORRECT, actions=chunk(0.2))
    path, client = f"/feedback/review/{given.pk}/", signed_in(reviewer)
    response = client.post(path, as_fields(chunk(0.3)) | {"verdict": "accepted", "comment": "keep me"})
    page = response.content.decode()
    assert response.status_code == 422
    assert "You changed the chunk: choose “Fix”" in page
    assert 'name="a-0-0" value="0.3"' in page
    assert "keep me" in page
    assert not Review.objects.exists()


def test_an_annotator_who_changed_the_chunk_does_not_call_the_robots_good(
    signed_in: Any, task: FeedbackTask, annotator: User
) -> None:
    client = signed_in(annotator)
    client.post(f"/feedback/{task.pk}/take/")
    changed = client.post(f"/feedback/{task.pk}/", as_fields(chunk(0.2)) | {"verdict": "accept"})
    assert changed.status_code == 422
    assert "You changed the chunk: choose “Correct”" in changed.content.decode()
    assert not Feedback.objects.exists()
    editor = chunk_editor(task.inference_result)
    unchanged = {cell.name: cell.value for row in editor.rows for cell in row}
    assert client.post(f"/feedback/{task.pk}/", unchanged | {"verdict": "accept"}).status_code == 302
    assert Feedback.objects.get().verdict == TaskVerdict.ACCEPT


def test_sending_back_without_a_word_is_refused_on_the_page(signed_in: Any, answer: Feedback, reviewer: User) -> None:
    response = signed_in(reviewer).post(f"/feedback/review/{answer.pk}/", {"verdict": "sent_back", "comment": ""})
    assert response.status_code == 422
    assert "Say what should be different." in response.content.decode()


def test_what_was_sent_back_greets_its_author_with_the_reason(
    signed_in: Any, answer: Feedback, reviewer: User, annotator: User
) -> None:
    signed_in(reviewer).post(f"/feedback/review/{answer.pk}/", {"verdict": "sent_back", "comment": "Lower, please."})
    assert "Sent back" in signed_in(annotator).get("/feedback/").content.decode()
    assert "Lower, please." in signed_in(annotator).get(f"/feedback/{answer.task_id}/").content.decode()


def test_review_and_agreement_are_for_reviewers(signed_in: Any, answer: Feedback, annotator: User) -> None:
    client = signed_in(annotator)
    assert client.get(f"/feedback/review/{answer.pk}/").status_code == 403
    assert client.get(f"/feedback/agreement/{answer.collection.slug}/").status_code == 403


def test_the_agreement_page_renders_with_and_without_answers(signed_in: Any, answer: Feedback, reviewer: User) -> None:
    client = signed_in(reviewer)
    path = f"/feedback/agreement/{answer.collection.slug}/"
    assert "Nobody has answered the same result twice" in client.get(path).content.decode()
    other = MembershipFactory(collection=answer.collection, role="annotator").user
    slot = FeedbackTaskFactory(inference_result=answer.inference_result, slot=1)
    services.submit_task(task_id=slot.pk, annotator=other, verdict=TaskVerdict.CORRECT, actions=chunk(0.3))
    page = client.get(path).content.decode()
    assert other.username in page
    assert "0.1000" in page
