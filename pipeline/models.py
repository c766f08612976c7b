"""Runs and what they make, exports, the catalogue of stored objects, retention; and all models of this app by name."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from collections_app.models import Collection
from collections_app.querysets import CollectionScopedQuerySet
from core.identifiers import uuid7
from inference.models import InferenceResult
from pipeline.choices import ExportFormat, JobState, ObjectKind, RetentionAction, Stage
from pipeline.embeddings.models import (
    CollectionMap,
    Embedding,
    ImageEmbedding,
    SavedSearch,
    VectorIndexHealth,
    VectorSet,
)
from pipeline.querysets import JobQuerySet, QuarantinedRecordQuerySet, RunShardQuerySet, StoredObjectQuerySet

__all__ = [
    "CollectionMap",
    "Embedding",
    "Export",
    "ImageEmbedding",
    "PipelineRun",
    "PurgedRecord",
    "QuarantinedRecord",
    "RetentionRule",
    "RunShard",
    "SavedSearch",
    "StageRun",
    "StoredObject",
    "VectorIndexHealth",
    "VectorSet",
]


class PipelineRun(models.Model):
    """A window of a collection's raw records on its way through the stages."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="runs")
    state = models.CharField(max_length=12, choices=JobState, default=JobState.QUEUED)
    window_start = models.DateTimeField(help_text=_("Records created at or after."))
    window_end = models.DateTimeField(help_text=_("Records created before."))
    progress = models.FloatField(default=0.0)
    records_in = models.PositiveBigIntegerField(default=0)
    records_out = models.PositiveBigIntegerField(default=0)
    records_quarantined = models.PositiveBigIntegerField(default=0)
    options = models.JSONField(default=dict, blank=True, help_text=_("What was asked for beyond the window."))
    report = models.JSONField(default=dict, blank=True, help_text=_("What was found, by type; never a value."))
    error = models.TextField(blank=True)
    trigger = models.CharField(max_length=32, default="manual")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = "pipeline_runs"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(name="pipeline_run_state_known", condition=Q(state__in=JobState.values)),
            models.CheckConstraint(name="pipeline_run_progress", condition=Q(progress__gte=0, progress__lte=1)),
            models.CheckConstraint(name="pipeline_run_window", condition=Q(window_start__lt=models.F("window_end"))),
        ]
        indexes = [models.Index(fields=["collection", "-created_at"], name="pipeline_run_newest")]

    def __str__(self) -> str:
        return f"Run of {self.collection} ({self.state})"


class StageRun(models.Model):
    """One stage of one run: how far it is, what it counted, what it cost."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(PipelineRun, on_delete=models.CASCADE, related_name="stages")
    stage = models.CharField(max_length=12, choices=Stage)
    state = models.CharField(max_length=12, choices=JobState, default=JobState.QUEUED)
    records_in = models.PositiveBigIntegerField(default=0)
    records_out = models.PositiveBigIntegerField(default=0)
    seconds = models.FloatField(default=0.0)
    counts = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        db_table = "pipeline_stage_runs"
        ordering = ["run", "id"]
        constraints = [models.UniqueConstraint(name="stage_run_once", fields=["run", "stage"])]

    def __str__(self) -> str:
        return f"{self.get_stage_display()} ({self.state})"


class RunShard(models.Model):
    """A part of a run that one worker does at a time: whole episodes, or a stretch of time where there are none.

    The ledger that makes a run resumable: a shard's records, name and bytes follow from its row and the data alone, so
    that doing it twice changes nothing.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(PipelineRun, on_delete=models.CASCADE, related_name="shards")
    number = models.PositiveIntegerField()
    first_episode = models.UUIDField(null=True, help_text=_("Empty: records without an episode."))
    last_episode = models.UUIDField(null=True)
    created_from = models.DateTimeField()
    created_to = models.DateTimeField()
    records = models.PositiveIntegerField(help_text=_("As counted when the run was planned."))
    state = models.CharField(max_length=12, choices=JobState, default=JobState.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    stage_counts = models.JSONField(default=dict, help_text=_("Per stage: in, out, seconds, and what it counted."))
    file = models.JSONField(default=dict, help_text=_("Key, bytes, SHA-256 and records of the shard's Parquet file."))
    summary = models.JSONField(
        default=dict, editable=False, help_text=_("What the manifest needs of its records, and the SHA-256 of its CSV.")
    )
    error = models.TextField(blank=True)

    objects = RunShardQuerySet.as_manager()

    class Meta:
        db_table = "pipeline_run_shards"
        ordering = ["run", "number"]
        constraints = [
            models.UniqueConstraint(name="run_shard_once", fields=["run", "number"]),
            models.CheckConstraint(name="run_shard_state_known", condition=Q(state__in=JobState.values)),
        ]

    def __str__(self) -> str:
        return f"Shard {self.number} ({self.state})"


class QuarantinedRecord(models.Model):
    """A record that a stage refused, with the reason. It waits to be fixed and replayed; it never disappears."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(PipelineRun, on_delete=models.CASCADE, related_name="quarantined")
    inference_result = models.ForeignKey(
        InferenceResult, on_delete=models.CASCADE, db_constraint=False, related_name="quarantines"
    )
    stage = models.CharField(max_length=12, choices=Stage)
    reason = models.CharField(max_length=64)
    detail = models.TextField(blank=True)
    original = models.JSONField(
        default=dict, blank=True, editable=False, help_text=_("What people fixed, as the robot's answer had it.")
    )
    fixed_at = models.DateTimeField(null=True, blank=True, editable=False)
    fixed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = QuarantinedRecordQuerySet.as_manager()

    class Meta:
        db_table = "quarantined_records"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="quarantined_once_a_run", fields=["run", "inference_result", "stage", "reason"]
            )
        ]

    def __str__(self) -> str:
        return f"{self.reason}: {self.inference_result_id}"


class PurgedRecord(models.Model):
    """A record whose raw data is gone: its texts are those that a run published, its pictures are redacted twins.

    The row lives as long as the record does, in the table or in an archive: a twin that several pictures share is
    deleted with the last record that shows it.
    """

    result_id = models.UUIDField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="purged_records", db_index=False)
    raw = ArrayField(models.CharField(max_length=512), help_text=_("The keys that the record's pictures had."))
    twins = ArrayField(models.CharField(max_length=512), help_text=_("The keys that they have now, in that order."))
    remarks = ArrayField(
        models.CharField(max_length=32), default=list, help_text=_("What was remarked of the raw pictures.")
    )
    episode = models.TextField(
        blank=True, help_text=_("Its episode's name as published, where the episode's row cannot hold it.")
    )
    purged_at = models.DateTimeField(auto_now_add=True)
    raw_deleted_at = models.DateTimeField(null=True, help_text=_("Empty: raw objects are still to be deleted."))

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "purged_records"
        indexes = [
            models.Index(fields=["collection"], name="purged_unfinished", condition=Q(raw_deleted_at=None)),
            GinIndex(fields=["twins"], name="purged_twins"),
            GinIndex(fields=["raw"], name="purged_raw"),
        ]

    def __str__(self) -> str:
        return str(self.result_id)


class StoredObject(models.Model):
    """One blob in object storage."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    key = models.CharField(max_length=512, unique=True)
    kind = models.CharField(max_length=12, choices=ObjectKind)
    collection = models.ForeignKey(
        Collection, null=True, blank=True, on_delete=models.CASCADE, related_name="stored_objects"
    )
    run = models.ForeignKey(PipelineRun, null=True, blank=True, on_delete=models.CASCADE, related_name="stored_objects")
    export = models.ForeignKey("Export", null=True, blank=True, on_delete=models.CASCADE, related_name="files")
    bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    legal_hold = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = StoredObjectQuerySet.as_manager()

    class Meta:
        db_table = "stored_objects"
        ordering = ["-created_at", "-id"]
        constraints = [models.CheckConstraint(name="stored_object_kind_known", condition=Q(kind__in=ObjectKind.values))]
        indexes = [
            models.Index(fields=["collection", "kind", "-created_at"], name="stored_object_kind"),
        ]

    def __str__(self) -> str:
        return self.key


class Export(models.Model):
    """A versioned data set: the same query on the same data gives the same bytes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="exports")
    format = models.CharField(max_length=12, choices=ExportFormat)
    query = models.JSONField(default=dict, blank=True, help_text=_("The filters that chose the records."))
    state = models.CharField(max_length=12, choices=JobState, default=JobState.QUEUED)
    progress = models.FloatField(default=0.0)
    records = models.PositiveBigIntegerField(default=0)
    manifest = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        db_table = "exports"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(name="export_format_known", condition=Q(format__in=ExportFormat.values)),
            models.CheckConstraint(name="export_state_known", condition=Q(state__in=JobState.values)),
            models.CheckConstraint(name="export_progress", condition=Q(progress__gte=0, progress__lte=1)),
        ]
        indexes = [models.Index(fields=["collection", "-created_at"], name="export_newest")]

    def __str__(self) -> str:
        return f"{self.get_format_display()} of {self.collection}"


class RetentionRule(models.Model):
    """How long a collection keeps a class of data, and what happens then."""

    id = models.BigAutoField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="retention_rules")
    kind = models.CharField(max_length=12, choices=ObjectKind)
    days = models.PositiveIntegerField()
    action = models.CharField(max_length=8, choices=RetentionAction, default=RetentionAction.DELETE)
    legal_hold = models.BooleanField(default=False, help_text=_("While set, nothing of this class is removed."))
    enabled = models.BooleanField(default=True)

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "retention_rules"
        ordering = ["collection", "kind"]
        constraints = [
            models.UniqueConstraint(name="retention_rule_once", fields=["collection", "kind"]),
            models.CheckConstraint(name="retention_rule_days", condition=Q(days__gte=1)),
            models.CheckConstraint(
                name="retention_rule_archives_raw",
                condition=~Q(action=RetentionAction.ARCHIVE) | Q(kind=ObjectKind.RAW),
                violation_error_message=_("Only raw records can be archived."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.get_kind_display()} after {self.days} days"

    def clean(self) -> None:
        if self.kind in (ObjectKind.MODEL, ObjectKind.AUDIT, ObjectKind.BACKUP):
            raise ValidationError({"kind": _("This class of data belongs to no collection.")})
