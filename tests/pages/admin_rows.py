"""One more row of each model in the admin, with relatives of its own, so that every join has something to do."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import models
from django.utils import timezone

from accounts import audit
from accounts.models import ApiKey, AuditLog, RateLimitTier, TokenFamily, User
from collections_app.models import ActionSpace, Collection, Episode, Robot
from core.identifiers import uuid7
from feedback.models import Dispute, Feedback, FeedbackTask, GoldAnswer, Review, TaskRule
from feedback.webhooks.choices import SUBSCRIBABLE
from feedback.webhooks.models import WebhookDelivery, WebhookEndpoint
from inference.models import Deployment, InferenceResult, PolicyVersion
from pipeline.models import (
    Embedding,
    Export,
    PipelineRun,
    QuarantinedRecord,
    RetentionRule,
    RunShard,
    StageRun,
    StoredObject,
    VectorIndexHealth,
    VectorSet,
)
from tests.factories import (
    ActionSpaceFactory,
    ApiKeyFactory,
    CollectionFactory,
    DeploymentFactory,
    EpisodeFactory,
    FeedbackFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    RobotFactory,
    UserFactory,
)


def _collection() -> Collection:
    collection = CollectionFactory()
    MembershipFactory(collection=collection)
    ApiKeyFactory(collections=[collection])
    RobotFactory(collection=collection)
    return collection


def _policy_version() -> PolicyVersion:
    return DeploymentFactory().policy_version


def _run() -> PipelineRun:
    now = timezone.now()
    run = PipelineRun.objects.create(
        collection=CollectionFactory(),
        requested_by=UserFactory(),
        window_start=now - timedelta(hours=1),
        window_end=now,
    )
    StageRun.objects.create(run=run, stage="validate")
    RunShard.objects.create(run=run, number=1, created_from=now, created_to=now, records=1)
    return run


def _quarantined_record() -> QuarantinedRecord:
    result = InferenceResultFactory()
    return QuarantinedRecord.objects.create(run=_run(), inference_result=result, stage="validate", reason="nan")


def _export() -> Export:
    export = Export.objects.create(collection=CollectionFactory(), format="csv", requested_by=UserFactory())
    _stored_object(export=export)
    return export


def _stored_object(**values: Any) -> StoredObject:
    collection = CollectionFactory()
    key = f"exports/{secrets.token_hex(8)}"
    return StoredObject.objects.create(
        key=key, kind="export", collection=collection, bytes=10, sha256="0" * 64, **values
    )


def _embedding() -> Embedding:
    result = InferenceResultFactory()
    return Embedding.objects.create(
        collection=result.collection,
        source_kind="result",
        source_id=result.pk,
        inference_result=result,
        episode=result.episode,
        robot=result.robot,
        policy_version=result.policy_version,
        occurred_at=result.created_at,
        text=result.instruction,
        text_sha256=secrets.token_hex(32),
        embedding=[1.0] + [0.0] * 383,
        model_name="test",
        model_revision="1",
    )


def _webhook() -> WebhookEndpoint:
    return WebhookEndpoint.objects.create(
        collection=CollectionFactory(), url="https://example.org/hook", secret="s", events=[SUBSCRIBABLE[0].value]
    )


def _delivery() -> WebhookDelivery:
    return WebhookDelivery.objects.create(endpoint=_webhook(), event=SUBSCRIBABLE[0], payload={})


def _token_family() -> TokenFamily:
    return TokenFamily.objects.create(
        user=UserFactory(),
        refresh_jti=uuid7().hex,
        session_hash="0" * 64,
        expires_at=timezone.now() + timedelta(days=1),
    )


def _task() -> FeedbackTask:
    return FeedbackTaskFactory(assigned=True)


def _review() -> Review:
    return Review.objects.create(feedback=FeedbackFactory(), reviewer=UserFactory(), verdict="accepted")


def _dispute() -> Dispute:
    result = InferenceResultFactory()
    return Dispute.objects.create(
        inference_result=result, collection=result.collection, reason="verdict", opened_at=timezone.now()
    )


def _gold_answer() -> GoldAnswer:
    result = InferenceResultFactory()
    return GoldAnswer.objects.create(inference_result=result, collection=result.collection, verdict="accept")


def _audit_log() -> AuditLog:
    collection = CollectionFactory()
    return audit.record("collection.viewed", collection, actor=UserFactory(), collection_id=collection.pk)


MAKERS: dict[type[models.Model], Callable[[], Any]] = {
    User: UserFactory,
    RateLimitTier: lambda: RateLimitTier.objects.create(name=f"tier-{secrets.token_hex(4)}", rate=1.0, burst=1),
    TokenFamily: _token_family,
    ApiKey: lambda: ApiKeyFactory(collections=[CollectionFactory()]),
    AuditLog: _audit_log,
    ActionSpace: ActionSpaceFactory,
    Collection: _collection,
    Robot: RobotFactory,
    Episode: EpisodeFactory,
    PolicyVersion: _policy_version,
    Deployment: DeploymentFactory,
    InferenceResult: InferenceResultFactory,
    TaskRule: lambda: TaskRule.objects.create(collection=CollectionFactory(), reason="safety"),
    FeedbackTask: _task,
    Feedback: FeedbackFactory,
    Review: _review,
    Dispute: _dispute,
    GoldAnswer: _gold_answer,
    WebhookEndpoint: _webhook,
    WebhookDelivery: _delivery,
    PipelineRun: _run,
    QuarantinedRecord: _quarantined_record,
    StoredObject: _stored_object,
    Export: _export,
    RetentionRule: lambda: RetentionRule.objects.create(collection=CollectionFactory(), kind="raw", days=30),
    Embedding: _embedding,
    VectorSet: lambda: VectorSet.objects.create(
        collection=CollectionFactory(), model_name="minilm", model_revision="1", state="serving"
    ),
    VectorIndexHealth: lambda: VectorIndexHealth.objects.create(
        method="hnsw", dimensions=384, rows=10, dead_rows=1, bytes=8192, recall=1.0
    ),
}
