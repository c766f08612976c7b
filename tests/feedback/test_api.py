from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.choices import Permission
from accounts.models import User
from core.identifiers import uuid7
from feedback.models import Feedback
from tests.factories import ApiKeyFactory, FeedbackFactory, InferenceResultFactory, MembershipFactory
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db

FEEDBACK = "/api/v1/feedback"


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def robot(result: Any) -> APIClient:
    key = ApiKeyFactory(collections=[result.collection], scopes=[Permission.FEEDBACK_WRITE.value])
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Api-Key {key.token}")
    return client


def correction(result: Any, actions: Any) -> dict[str, Any]:
    return {"request_id": str(result.request_id), "type": "correction", "actions": actions, "confidence": 0.8}


def test_a_correction_is_created_and_can_be_read_where_the_answer_says(annotator: User, result: Any) -> None:
    client = client_of(annotator)
    response = client.post(FEEDBACK, correction(result, chunk(0.2)), format="json")
    assert response.status_code == 201
    read = client.get(response["Location"])
    assert read.status_code == 200
    body = read.json()
    assert body["request_id"] == str(result.request_id)
    assert (body["type"], body["actions"], body["confidence"]) == ("correction", chunk(0.2), 0.8)
    assert (body["annotator"], body["api_key"]) == (annotator.username, None)
    assert body["model"] == {"name": result.model_name, "version": result.model_version}


def test_the_same_answer_again_is_200_with_the_first_one(annotator: User, result: Any) -> None:
    client = client_of(annotator)
    first = client.post(FEEDBACK, correction(result, chunk(0.2)), format="json")
    again = client.post(FEEDBACK, correction(result, chunk(0.2)), format="json")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


def test_a_robot_reports_its_teleoperators_intervention(robot: APIClient, result: Any) -> None:
    intervention = {"request_id": str(result.request_id), "type": "intervention", "actions": chunk(0.1)}
    response = robot.post(FEEDBACK, intervention, format="json")
    assert response.status_code == 201
    assert response.json()["api_key"].startswith("key ")


def test_a_number_beyond_its_limit_is_pointed_at(annotator: User, result: Any) -> None:
    wrong = chunk()
    wrong[3][2] = 0.9
    response = client_of(annotator).post(FEEDBACK, correction(result, wrong), format="json")
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["errors"] == [{"pointer": "/actions/3/2", "detail": "z goes above its limit of 0.6 m."}]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"type": "applause"}, "/type"),
        ({"rating": 9}, "/rating"),
        ({"confidence": 2}, "/confidence"),
        ({"preferred": "robot"}, "/preferred"),
        ({"request_id": "not-a-uuid"}, "/request_id"),
        ({"actions": chunk(steps=2)}, "/actions"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_a_wrong_field_is_named(annotator: User, result: Any, changes: dict[str, Any], pointer: str) -> None:
    response = client_of(annotator).post(FEEDBACK, correction(result, chunk()) | changes, format="json")
    assert response.status_code == 400
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_an_unknown_request_is_404(annotator: User) -> None:
    body = {"request_id": str(uuid7()), "type": "success"}
    assert client_of(annotator).post(FEEDBACK, body, format="json").status_code == 404


def test_readers_may_not_give_feedback_and_strangers_see_no_result(viewer: User, result: Any) -> None:
    stranger = MembershipFactory(role="annotator").user
    for person, status in ((viewer, 403), (stranger, 404)):
        assert client_of(person).post(FEEDBACK, correction(result, chunk()), format="json").status_code == status
    assert APIClient().post(FEEDBACK, correction(result, chunk()), format="json").status_code == 401
    assert not Feedback.objects.exists()


def test_a_key_without_the_scope_or_the_collection_gives_none(result: Any) -> None:
    reading = ApiKeyFactory(collections=[result.collection], scopes=[Permission.DATA_READ.value])
    elsewhere = ApiKeyFactory(scopes=[Permission.FEEDBACK_WRITE.value])
    for key, status in ((reading, 403), (elsewhere, 404)):
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Api-Key {key.token}")
        assert client.post(FEEDBACK, correction(result, chunk()), format="json").status_code == status


def test_the_list_shows_only_what_the_caller_may_read_and_filters_it(viewer: User, result: Any) -> None:
    seen = FeedbackFactory(inference_result=result)
    FeedbackFactory(inference_result=result, feedback_type="success", rating=None)
    hidden = FeedbackFactory()
    client = client_of(viewer)
    assert len(client.get(FEEDBACK).json()["results"]) == 2
    ratings = client.get(FEEDBACK, {"type": "rating", "request_id": str(result.request_id)}).json()["results"]
    assert [feedback["id"] for feedback in ratings] == [str(seen.pk)]
    assert client.get(f"{FEEDBACK}/{hidden.pk}").status_code == 404
    assert client.get(FEEDBACK, {"annotator__password__startswith": "a"}).status_code == 400


def test_the_lists_queries_do_not_grow_with_its_rows(
    viewer: User, result: Any, django_assert_max_num_queries: Any
) -> None:
    for _ in range(10):
        FeedbackFactory(inference_result=InferenceResultFactory(collection=result.collection))
    with django_assert_max_num_queries(2):
        assert len(client_of(viewer).get(FEEDBACK).json()["results"]) == 10
