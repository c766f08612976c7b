from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import AuditLog, User
from accounts.principals import Service
from core.problems import Problem
from core.redis import engine_redis
from feedback import services
from feedback.choices import FeedbackType
from feedback.models import Feedback, GoldAnswer
from feedback.signals import feedback_given
from inference.engine import keys
from tests.factories import ApiKeyFactory, InferenceResultFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


def pointers(problem: Problem) -> list[str]:
    return [error.pointer for error in problem.errors]


def test_a_correction_keeps_who_what_and_which_result(annotator: User, result: Any) -> None:
    given, is_new = services.give_feedback(
        principal=annotator, result=result, feedback_type=FeedbackType.CORRECTION, actions=chunk(0.2), confidence=0.9
    )
    assert is_new
    stored = Feedback.objects.get(pk=given.pk)
    assert stored.human_correction == chunk(0.2)
    assert (stored.annotator, stored.inference_result_id, stored.confidence) == (annotator, result.pk, 0.9)


def test_every_number_outside_its_limits_is_named(annotator: User, result: Any) -> None:
    wrong = chunk()
    wrong[3][2] = -0.5
    wrong[7][6] = 1.5
    with pytest.raises(Problem) as caught:
        services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.CORRECTION, actions=wrong)
    assert caught.value.status == 400
    assert pointers(caught.value) == ["/actions/3/2", "/actions/7/6"]
    assert not Feedback.objects.exists()


def test_a_change_faster_than_allowed_is_named(annotator: User, result: Any) -> None:
    result.collection.action_space.dimensions.filter(name="x").update(max_step_change=0.05)
    wrong = chunk()
    wrong[4][0] = 0.2
    with pytest.raises(Problem) as caught:
        services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.CORRECTION, actions=wrong)
    assert pointers(caught.value) == ["/actions/4/0", "/actions/5/0"]


@pytest.mark.parametrize(
    ("actions", "pointer"),
    [
        ("no list", "/actions"),
        (chunk(steps=7), "/actions"),
        ([*chunk(steps=7), [0.0]], "/actions/7"),
        ([*chunk(steps=7), [0.0, 0.0, 0.1, 0.0, 0.0, 0.0, "0.5"]], "/actions/7/6"),
        ([*chunk(steps=7), [True, 0.0, 0.1, 0.0, 0.0, 0.0, 0.5]], "/actions/7/0"),
        ([*chunk(steps=7), [float("nan"), 0.0, 0.1, 0.0, 0.0, 0.0, 0.5]], "/actions/7/0"),
        (None, "/actions"),
    ],
)
def test_a_correction_of_another_shape_is_refused(annotator: User, result: Any, actions: Any, pointer: str) -> None:
    with pytest.raises(Problem) as caught:
        services.give_feedback(
            principal=annotator, result=result, feedback_type=FeedbackType.CORRECTION, actions=actions
        )
    assert pointers(caught.value) == [pointer]


def test_a_rejected_chunk_is_corrected_in_the_shape_that_the_policy_proposed(annotator: User) -> None:
    rejected = InferenceResultFactory(
        collection__horizon=8, output_actions=[], proposed_actions=chunk(9.0, steps=5), safety_verdict="rejected"
    )
    given, _ = services.give_feedback(
        principal=annotator, result=rejected, feedback_type=FeedbackType.CORRECTION, actions=chunk(0.1, steps=5)
    )
    assert given.human_correction == chunk(0.1, steps=5)


@pytest.mark.parametrize(
    ("answer", "pointer"),
    [
        ({"feedback_type": FeedbackType.RATING}, "/rating"),
        ({"feedback_type": FeedbackType.RATING, "rating": 6}, "/rating"),
        ({"feedback_type": FeedbackType.PREFERENCE}, "/preferred"),
        ({"feedback_type": FeedbackType.COMMENT, "comment": "  "}, "/comment"),
        ({"feedback_type": FeedbackType.SUCCESS, "confidence": 1.5}, "/confidence"),
        ({"feedback_type": FeedbackType.SUCCESS, "actions": chunk()}, "/actions"),
    ],
)
def test_what_a_type_needs_is_asked_for(annotator: User, result: Any, answer: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Problem) as caught:
        services.give_feedback(principal=annotator, result=result, **answer)
    assert pointers(caught.value) == [pointer]


def test_the_same_answer_again_is_the_first_one(annotator: User, result: Any) -> None:
    answer = {"principal": annotator, "result": result, "feedback_type": FeedbackType.RATING, "rating": 4}
    first, first_is_new = services.give_feedback(**answer)
    again, again_is_new = services.give_feedback(**answer)
    assert (first_is_new, again_is_new) == (True, False)
    assert again == first
    assert Feedback.objects.count() == 1


def test_a_later_answer_of_the_same_kind_replaces_the_earlier_one(annotator: User, result: Any) -> None:
    for rating in (2, 5):
        services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.RATING, rating=rating)
    services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.SUCCESS)
    assert list(Feedback.objects.current().order_by("created_at").values_list("feedback_type", "rating")) == [
        ("rating", 5),
        ("success", None),
    ]
    assert Feedback.objects.count() == 3


def test_comments_add_up(annotator: User, result: Any) -> None:
    for text in ("first", "second"):
        services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.COMMENT, comment=text)
    assert Feedback.objects.current().count() == 2


def test_a_teleoperators_intervention_comes_from_an_api_key(result: Any) -> None:
    key = ApiKeyFactory(collections=[result.collection])
    service = Service(key_id=key.pk, name=key.name, scopes=frozenset(key.scopes))
    given, _ = services.give_feedback(
        principal=service, result=result, feedback_type=FeedbackType.INTERVENTION, actions=chunk(0.3)
    )
    assert (given.api_key_id, given.annotator_id) == (key.pk, None)
    assert AuditLog.objects.get(resource_id=given.pk).actor_id == key.pk


def test_personal_data_is_removed_before_storing_and_the_trail_says_only_which_kind(
    annotator: User, result: Any
) -> None:
    given, _ = services.give_feedback(
        principal=annotator,
        result=result,
        feedback_type=FeedbackType.COMMENT,
        comment="Ask jane.doe@example.com or +49 30 901820 why it slipped.",
    )
    assert given.comment == "Ask <EMAIL_ADDRESS> or <PHONE_NUMBER> why it slipped."
    entries = AuditLog.objects.filter(resource_id=given.pk).order_by("pk")
    assert [entry.action for entry in entries] == ["feedback.given", "feedback.personal_data_removed"]
    assert entries[1].changes == {"comment": [{"EMAIL_ADDRESS": 1, "PHONE_NUMBER": 1}, None]}
    assert "jane" not in str([entry.changes for entry in entries])


def test_the_apps_above_hear_of_it_after_the_commit(
    annotator: User, result: Any, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[dict[str, Any]] = []

    def listen(**news: Any) -> None:
        heard.append({name: news[name] for name in ("collection_id", "feedback_id")})

    feedback_given.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            given, _ = services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.SUCCESS)
            assert heard == []
    finally:
        feedback_given.disconnect(listen)
    assert heard == [{"collection_id": result.collection_id, "feedback_id": given.pk}]


def test_viewers_of_the_live_page_see_it_at_once(
    annotator: User, result: Any, django_capture_on_commit_callbacks: Any
) -> None:
    viewer = engine_redis().pubsub(ignore_subscribe_messages=True)
    viewer.subscribe(keys.live(result.collection_id.hex))
    viewer.get_message(timeout=1)
    with django_capture_on_commit_callbacks(execute=True):
        services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.SUCCESS)
    message = viewer.get_message(timeout=5)
    viewer.close()
    seen = json.loads(message["data"])
    assert seen.pop("created_at")
    assert seen == {
        "type": "feedback",
        "request_id": str(result.request_id),
        "feedback_type": "success",
        "annotator": annotator.username,
    }


@pytest.mark.parametrize(("value", "score"), [(0.2, 1.0), (0.25, pytest.approx(0.9286, abs=1e-3)), (-0.5, 0.0)])
def test_a_correction_of_a_result_with_a_known_answer_is_scored_by_its_distance(
    annotator: User, result: Any, value: float, score: float
) -> None:
    GoldAnswer.objects.create(
        inference_result=result, collection=result.collection, verdict="correct", actions=chunk(0.2)
    )
    given, _ = services.give_feedback(
        principal=annotator, result=result, feedback_type=FeedbackType.CORRECTION, actions=chunk(value)
    )
    assert given.gold_score == score
