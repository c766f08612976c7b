"""One collection with one of everything, and everybody who could ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from accounts.choices import SCOPES, Role
from accounts.models import ApiKey, User
from collections_app.models import Collection, Episode, Membership
from core.identifiers import uuid7
from feedback.models import Dispute, Feedback, FeedbackTask, Review
from inference.models import InferenceResult
from pipeline.models import Export, PipelineRun, QuarantinedRecord
from tests.factories import (
    ApiKeyFactory,
    CollectionFactory,
    DeploymentFactory,
    FeedbackFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    UserFactory,
)

ROLES = {role.value: role for role in Role}
KEYS = {f"key {scope.value}": scope for scope in SCOPES}
CHANGEABLE = (
    ApiKey,
    Collection,
    Dispute,
    Episode,
    Export,
    Feedback,
    FeedbackTask,
    Membership,
    PipelineRun,
    QuarantinedRecord,
    Review,
)
MEMBERS = (*ROLES, *KEYS)
OUTSIDERS = ("stranger", "stranger's key")
EVERYBODY = ("nobody", *OUTSIDERS, *MEMBERS, "superuser")


@dataclass(frozen=True)
class World:
    """``names`` fills the placeholders of a URL template."""

    collection: Collection
    result: InferenceResult
    task: FeedbackTask
    answer: Feedback
    dispute: Dispute
    run: PipelineRun
    refused: QuarantinedRecord
    export: Export
    viewer_membership: int

    # In everything that could be listed: whoever is not to know of it must not meet this word.
    marker = "kitchen-with-a-secret"

    @property
    def names(self) -> dict[str, Any]:
        return {
            "slug": self.collection.slug,
            "episode": self.result.episode_id,
            "result": self.result.request_id,
            "task": self.task.pk,
            "answer": self.answer.pk,
            "dispute": self.dispute.pk,
            "run": self.run.pk,
            "refused": self.refused.pk,
            "export": self.export.pk,
            "policy": self.result.model_name,
            "policy_version": self.result.model_version,
            "membership": self.viewer_membership,
            "new": uuid7(),
        }


def create_world() -> World:
    collection = CollectionFactory(slug=World.marker)
    # Newest of all, however many others the callers bring along: pages show the newest few.
    Collection.objects.filter(pk=collection.pk).update(created_at=timezone.now() + timedelta(days=1))
    deployment = DeploymentFactory(collection=collection, policy_version__name=World.marker)
    result = InferenceResultFactory(
        collection=collection,
        policy_version=deployment.policy_version,
        instruction=World.marker,
        images={"base": "raw/none.jpg"},
    )
    task = FeedbackTaskFactory(inference_result=result)
    run = PipelineRun.objects.create(
        collection=collection, window_start=result.created_at, window_end=result.created_at + timedelta(hours=1)
    )
    return World(
        collection=collection,
        result=result,
        task=task,
        answer=FeedbackFactory(inference_result=result),
        dispute=Dispute.objects.create(
            collection=collection, inference_result=result, reason="verdict", opened_at=timezone.now()
        ),
        run=run,
        refused=QuarantinedRecord.objects.create(
            run=run, inference_result=result, stage="images", reason="image_unreadable"
        ),
        export=Export.objects.create(collection=collection, format="csv"),
        viewer_membership=MembershipFactory(collection=collection, role=Role.VIEWER).pk,
    )


def client_of(kind: str, collection: Collection) -> Client:
    """A client with the credentials of one kind of caller."""
    if kind == "nobody":
        return Client()
    if kind in KEYS:
        return _with_key([KEYS[kind].value], collection)
    if kind == "stranger's key":
        return _with_key([scope.value for scope in SCOPES], CollectionFactory())
    if kind == "superuser":
        return _with_session(UserFactory(is_superuser=True, is_staff=True))
    if kind == "stranger":
        return _with_session(MembershipFactory(role=Role.MANAGER).user)
    return _with_session(MembershipFactory(collection=collection, role=ROLES[kind]).user)


def _with_key(scopes: list[str], collection: Collection) -> Client:
    key = ApiKeyFactory(scopes=scopes, collections=[collection])
    return Client(headers={"Authorization": f"Api-Key {key.token}"})


def _with_session(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
