from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client

from accounts.choices import Role
from accounts.models import AuditLog, User
from collections_app.models import Collection
from feedback import services
from feedback.choices import SkipReason, TaskState, TaskVerdict
from feedback.models import Feedback, FeedbackTask, GoldAnswer, TaskRule, WebhookEndpoint
from tests.factories import (
    FeedbackFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    UserFactory,
)
from tests.feedback.conftest import chunk

pytestmark = pytest.mark.django_db


def staff(collection: Collection, role: Role) -> Client:
    client = Client()
    user = UserFactory(is_staff=True)
    MembershipFactory(collection=collection, role=role, user=user)
    client.force_login(user)
    return client


@pytest.fixture
def manager(collection: Collection) -> Client:
    return staff(collection, Role.MANAGER)


def act(client: Client, model: str, action: str, *rows: Any, **more: str) -> Any:
    data = {"action": action, ACTION_CHECKBOX_NAME: [str(row.pk) for row in rows], **more}
    return client.post(f"/admin/feedback/{model}/", data, follow=True)


def test_a_rule_is_made_and_changed_through_the_service(manager: Client, collection: Collection) -> None:
    form = {"collection": str(collection.pk), "reason": "safety", "enabled": "on", "sample_rate": "1", "overlap": "2"}
    assert manager.post("/admin/feedback/taskrule/add/", form).status_code == 302
    rule = TaskRule.objects.get()
    assert (rule.reason, rule.overlap) == ("safety", 2)
    path = f"/admin/feedback/taskrule/{rule.pk}/change/"
    assert manager.post(path, {"enabled": "on", "sample_rate": "0.5", "overlap": "2"}).status_code == 302
    entry = AuditLog.objects.filter(resource_type="taskrule").latest("pk")
    assert (entry.action, entry.changes) == ("task_rule.changed", {"sample_rate": [1.0, 0.5]})


def test_skipped_tasks_are_reopened_after_a_preview(manager: Client, collection: Collection, annotator: User) -> None:
    task = FeedbackTaskFactory(inference_result__collection=collection, state=TaskState.SKIPPED)
    services.claim_next_task(annotator=annotator)
    page = act(manager, "feedbacktask", "reopen", task)
    assert "This changes 1 row:" in page.content.decode()
    task.refresh_from_db()
    assert task.state == TaskState.SKIPPED
    assert "1 task is open again." in act(manager, "feedbacktask", "reopen", task, confirmed="yes").content.decode()
    task.refresh_from_db()
    assert task.state == TaskState.OPEN


def test_tasks_are_given_to_an_annotator_after_a_preview(
    manager: Client, collection: Collection, annotator: User
) -> None:
    tasks = [FeedbackTaskFactory(inference_result__collection=collection) for _ in range(2)]
    second_slot = FeedbackTaskFactory(inference_result=tasks[0].inference_result, slot=1)
    done = FeedbackTaskFactory(inference_result__collection=collection, state=TaskState.DONE, assignee=annotator)
    elsewhere = FeedbackTaskFactory()
    chosen = (*tasks, second_slot, done, elsewhere)
    page = act(manager, "feedbacktask", "assign", *chosen).content.decode()
    assert "This changes 3 rows:" in page
    assert f">{annotator}</option>" in page
    stranger = MembershipFactory(role=Role.ANNOTATOR).user
    refused = act(manager, "feedbacktask", "assign", *chosen, confirmed="yes", annotator=str(stranger.pk))
    assert "Select a valid choice" in refused.content.decode()
    assert not FeedbackTask.objects.filter(state=TaskState.ASSIGNED).exists()
    given = act(manager, "feedbacktask", "assign", *chosen, confirmed="yes", annotator=str(annotator.pk))
    assert f"2 tasks are now {annotator}&#x27;s." in given.content.decode()
    held = FeedbackTask.objects.held_by(annotator)
    assert {task.inference_result for task in held} == {task.inference_result for task in tasks}
    assert services.claim_next_task(annotator=annotator) in held
    assert AuditLog.objects.filter(action="feedback_task.assigned").count() == 2


def test_nobody_is_measured_by_an_answer_that_was_switched_off_after_a_preview(
    collection: Collection, annotator: User
) -> None:
    reviewer = staff(collection, Role.REVIEWER)
    gold = GoldAnswer.objects.create(
        inference_result=InferenceResultFactory(collection=collection), collection=collection, verdict="accept"
    )
    assert "This changes 1 row:" in act(reviewer, "goldanswer", "switch_off", gold).content.decode()
    gold.refresh_from_db()
    assert gold.enabled
    act(reviewer, "goldanswer", "switch_off", gold, confirmed="yes")
    gold.refresh_from_db()
    assert not gold.enabled


def test_answers_are_accepted_in_bulk_and_refusals_are_named(collection: Collection, annotator: User) -> None:
    reviewer = staff(collection, Role.REVIEWER)
    answers = [
        services.submit_task(
            task_id=FeedbackTaskFactory(inference_result__collection=collection).pk,
            annotator=annotator,
            verdict=TaskVerdict.CORRECT,
            actions=chunk(0.1),
        ),
        FeedbackFactory(inference_result__collection=collection),
    ]
    act(reviewer, "feedback", "accept", *answers, confirmed="yes")
    assert set(Feedback.objects.values_list("review_state", flat=True)) == {"accepted"}
    page = act(reviewer, "feedback", "make_known", *answers, confirmed="yes").content.decode()
    assert "Only an answer with a verdict can be a known one." in page
    assert GoldAnswer.objects.get().actions == chunk(0.1)


def test_an_annotator_of_the_staff_sees_answers_and_changes_none(collection: Collection) -> None:
    client = staff(collection, Role.ANNOTATOR)
    answer = FeedbackFactory(inference_result__collection=collection)
    other = FeedbackFactory()
    page = client.get("/admin/feedback/feedback/").content.decode()
    assert str(answer.pk) in page
    assert str(other.pk) not in page
    act(client, "feedback", "accept", answer, confirmed="yes")
    answer.refresh_from_db()
    assert answer.review_state == "pending"


def test_a_skip_is_seen_with_its_reason(manager: Client, collection: Collection, annotator: User) -> None:
    task = FeedbackTaskFactory(inference_result__collection=collection)
    services.skip_task(task_id=task.pk, annotator=annotator, reason=SkipReason.IMAGE)
    page = manager.get(f"/admin/feedback/feedbacktask/{task.pk}/change/").content.decode()
    assert "The image does not show enough" in page


def test_a_webhook_shows_its_secret_once_and_refuses_our_own_network(
    manager: Client, collection: Collection, settings: Any
) -> None:
    form = {
        "collection": str(collection.pk),
        "url": "https://127.0.0.1/x",
        "events": ["feedback.submitted"],
        "enabled": "on",
    }
    page = manager.post("/admin/feedback/webhookendpoint/add/", form)
    assert "The host is not a public one." in page.content.decode()
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    page = manager.post("/admin/feedback/webhookendpoint/add/", form, follow=True).content.decode()
    assert page.count("whsec_") == 1
    assert "whsec_" not in manager.get("/admin/feedback/webhookendpoint/").content.decode()
    endpoint = WebhookEndpoint.objects.get()
    assert "whsec_" not in act(manager, "webhookendpoint", "rotate", endpoint).content.decode()
    assert WebhookEndpoint.objects.get().secret == endpoint.secret
    assert act(manager, "webhookendpoint", "rotate", endpoint, confirmed="yes").content.decode().count("whsec_") == 1
    assert WebhookEndpoint.objects.get().secret != endpoint.secret


@pytest.mark.parametrize(
    "model", ["taskrule", "feedbacktask", "feedback", "review", "goldanswer", "webhookendpoint", "webhookdelivery"]
)
def test_every_list_opens(manager: Client, collection: Collection, model: str) -> None:
    FeedbackTaskFactory(inference_result__collection=collection)
    assert manager.get(f"/admin/feedback/{model}/").status_code == 200


def test_a_tasks_state_cannot_be_edited_by_hand(manager: Client, collection: Collection) -> None:
    task = FeedbackTaskFactory(inference_result__collection=collection)
    manager.post(f"/admin/feedback/feedbacktask/{task.pk}/change/", {"state": "done"})
    assert FeedbackTask.objects.get().state == TaskState.OPEN
