"""Policy versions, where they are deployed, and what they answered."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from collections_app.models import Collection, Episode, Robot
from core.identifiers import uuid7
from inference.choices import DeploymentRole, Verdict, VersionState
from inference.querysets import DeploymentQuerySet, InferenceResultQuerySet, PolicyVersionQuerySet


class PolicyVersion(models.Model):
    """One version of one policy: a backend and its options. What it is never changes once robots have used it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=64, validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")])
    version = models.CharField(max_length=32, validators=[RegexValidator(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")])
    backend = models.CharField(max_length=32)
    options = models.JSONField(default=dict, blank=True)
    checkpoint_sha256 = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=16, choices=VersionState, default=VersionState.REGISTERED, editable=False)
    state_detail = models.TextField(blank=True, editable=False)
    info = models.JSONField(
        default=dict, blank=True, editable=False, help_text=_("What the loaded policy said of itself.")
    )
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = PolicyVersionQuerySet.as_manager()

    class Meta:
        db_table = "policy_versions"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(name="policy_version_once", fields=["name", "version"]),
            models.CheckConstraint(name="policy_version_state_known", condition=Q(state__in=VersionState.values)),
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Deployment(models.Model):
    """A policy version at work on a collection: active with a share of the traffic, or shadow."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="deployments")
    policy_version = models.ForeignKey(PolicyVersion, on_delete=models.CASCADE, related_name="deployments")
    role = models.CharField(max_length=8, choices=DeploymentRole, default=DeploymentRole.ACTIVE)
    weight = models.PositiveIntegerField(default=100, help_text=_("Its share, relative to the other active versions."))
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        db_table = "deployments"
        ordering = ["collection", "-created_at"]
        constraints = [
            models.UniqueConstraint(name="deployment_once", fields=["collection", "policy_version"]),
            models.CheckConstraint(name="deployment_role_known", condition=Q(role__in=DeploymentRole.values)),
        ]

    def __str__(self) -> str:
        return f"{self.policy_version} on {self.collection} ({self.role})"


class InferenceRequest(models.Model):
    """The ledger that makes a request id unique across the partitions of ``inference_results``.

    Holds the digest of the body, so that the same id with another body is told apart from a repeat.
    """

    request_id = models.UUIDField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    digest = models.BinaryField(max_length=32)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "inference_requests"

    def __str__(self) -> str:
        return str(self.request_id)


class InferenceResult(models.Model):
    """One observation with the chunk that answered it and the safety verdict.

    The table is range-partitioned by month on ``created_at`` (migration 0002): its primary key in the database is
    (id, created_at), Django sees ``id``. Foreign keys to it have no database constraint. Images are objects in
    storage; ``images`` maps a camera to its key. ``output_actions`` is what was sent, ``[horizon][dimension]`` in
    physical units, empty when rejected; ``proposed_actions`` is what the policy said, null where that is the same.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    request_id = models.UUIDField()
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="results", db_index=False)
    robot = models.ForeignKey(Robot, null=True, on_delete=models.SET_NULL, related_name="results", db_index=False)
    episode = models.ForeignKey(Episode, null=True, on_delete=models.SET_NULL, related_name="results", db_index=False)
    step = models.PositiveIntegerField(null=True)
    instruction = models.TextField(blank=True)
    policy_version = models.ForeignKey(
        PolicyVersion, null=True, on_delete=models.SET_NULL, related_name="results", db_index=False
    )
    model_name = models.CharField(max_length=64)
    model_version = models.CharField(max_length=32)
    shadow = models.BooleanField(default=False)
    input_state = models.JSONField()
    output_actions = models.JSONField()
    proposed_actions = models.JSONField(null=True)
    images = models.JSONField(default=dict)
    safety_score = models.FloatField()
    safety_verdict = models.CharField(max_length=8, choices=Verdict)
    safety_violations = models.JSONField(default=list)
    confidence = models.FloatField(null=True)
    cached = models.BooleanField(default=False)
    queue_ms = models.FloatField()
    inference_time_ms = models.FloatField()
    total_ms = models.FloatField()
    batch_size = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField()

    objects = InferenceResultQuerySet.as_manager()

    class Meta:
        db_table = "inference_results"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="inference_result_verdict_known", condition=Q(safety_verdict__in=Verdict.values)
            ),
            models.CheckConstraint(
                name="inference_result_score_in_range", condition=Q(safety_score__gte=0, safety_score__lte=1)
            ),
            models.CheckConstraint(
                name="inference_result_rejected_sends_nothing",
                condition=~Q(safety_verdict="rejected") | Q(output_actions=[]),
            ),
        ]
        indexes = [
            models.Index(fields=["request_id"], name="result_request"),
            models.Index(fields=["collection", "-created_at", "-id"], name="result_newest"),
            models.Index(fields=["episode", "step", "created_at"], name="result_episode"),
            models.Index(fields=["robot", "-created_at"], name="result_robot"),
            models.Index(fields=["policy_version", "-created_at"], name="result_policy"),
            models.Index(
                fields=["collection", "-created_at"], name="result_unsafe", condition=~Q(safety_verdict="pass")
            ),
            models.Index(fields=["created_at"], name="result_created"),
            models.Index(
                fields=["safety_verdict", "-created_at", "-id"],
                name="result_verdict",
                condition=~Q(safety_verdict="pass"),
            ),
            models.Index(fields=["-created_at", "-id"], name="result_cached", condition=Q(cached=True)),
        ]

    def __str__(self) -> str:
        return str(self.request_id)
