"""Runs and what they make, exports, the catalogue of stored objects, retention, and embeddings."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy as _
from pgvector.django import HalfVectorField, HnswIndex, VectorField

from collections_app.models import Collection, Episode, Robot
from collections_app.querysets import CollectionScopedQuerySet
from core.identifiers import uuid7
from inference.choices import Verdict
from inference.models import InferenceResult, PolicyVersion
from pipeline.choices import (
    EmbeddingSource,
    ExportFormat,
    JobState,
    ObjectKind,
    RetentionAction,
    Stage,
    VectorSetState,
)
from pipeline.querysets import (
    CollectionMapQuerySet,
    EmbeddingQuerySet,
    JobQuerySet,
    QuarantinedRecordQuerySet,
    RunShardQuerySet,
    StoredObjectQuerySet,
    VectorSetQuerySet,
)

EMBEDDING_DIMENSIONS = 384


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


class Embedding(models.Model):
    """The meaning of a text as a unit vector; ``source_id`` is the result's or feedback's id.

    The steps of an episode repeat one instruction: it is embedded once an episode, for the first result that had it.
    What searches filter by is kept in the row, so that a filter is applied while the vector index is scanned.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="embeddings")
    source_kind = models.CharField(max_length=12, choices=EmbeddingSource)
    source_id = models.UUIDField()
    inference_result = models.ForeignKey(
        InferenceResult, null=True, on_delete=models.CASCADE, db_constraint=False, related_name="embeddings"
    )
    episode = models.ForeignKey(Episode, null=True, on_delete=models.CASCADE, related_name="embeddings")
    robot = models.ForeignKey(Robot, null=True, on_delete=models.SET_NULL, related_name="embeddings")
    policy_version = models.ForeignKey(
        PolicyVersion, null=True, on_delete=models.SET_NULL, related_name="embeddings", db_index=False
    )
    safety_verdict = models.CharField(max_length=8, choices=Verdict, blank=True)
    occurred_at = models.DateTimeField(help_text=_("When the source was made."))
    text = models.TextField(help_text=_("Anonymised."))
    text_sha256 = models.CharField(max_length=64)
    search_vector = models.GeneratedField(
        expression=SearchVector("text", config="english"), output_field=SearchVectorField(), db_persist=True
    )
    embedding = VectorField(dimensions=EMBEDDING_DIMENSIONS)
    model_name = models.CharField(max_length=100)
    model_revision = models.CharField(max_length=64)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EmbeddingQuerySet.as_manager()

    class Meta:
        db_table = "embeddings"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="embedding_once", fields=["source_id", "source_kind", "model_name", "model_revision"]
            ),
            models.UniqueConstraint(
                name="embedding_text_once_an_episode",
                fields=["episode", "text_sha256", "model_name", "model_revision"],
                condition=Q(source_kind=EmbeddingSource.RESULT, episode__isnull=False),
            ),
            models.CheckConstraint(name="embedding_source_known", condition=Q(source_kind__in=EmbeddingSource.values)),
        ]
        indexes = [
            HnswIndex(
                OpClass(Cast("embedding", HalfVectorField(dimensions=EMBEDDING_DIMENSIONS)), name="halfvec_cosine_ops"),
                name="embedding_cosine",
                m=16,
                ef_construction=64,
            ),
            models.Index(fields=["collection", "-created_at"], name="embedding_newest"),
            models.Index(fields=["text_sha256"], name="embedding_text"),
            GinIndex(fields=["metadata"], name="embedding_metadata", opclasses=["jsonb_path_ops"]),
            GinIndex(fields=["search_vector"], name="embedding_words"),
        ]

    def __str__(self) -> str:
        return self.text[:80]


class ImageEmbedding(models.Model):
    """What a camera saw at a moment, as a unit vector in the space of an image model's words and pictures."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="image_embeddings")
    inference_result = models.ForeignKey(
        InferenceResult, on_delete=models.CASCADE, db_constraint=False, related_name="image_embeddings"
    )
    episode = models.ForeignKey(Episode, null=True, on_delete=models.CASCADE, related_name="image_embeddings")
    robot = models.ForeignKey(Robot, null=True, on_delete=models.SET_NULL, related_name="image_embeddings")
    policy_version = models.ForeignKey(
        PolicyVersion, null=True, on_delete=models.SET_NULL, related_name="image_embeddings", db_index=False
    )
    safety_verdict = models.CharField(max_length=8, choices=Verdict, blank=True)
    occurred_at = models.DateTimeField(help_text=_("When the picture was taken."))
    camera = models.CharField(max_length=64)
    place = models.UUIDField(help_text=_("The episode, or the result where there is none."))
    moment = models.BigIntegerField(help_text=_("The stretch of time that this picture stands for."))
    embedding = VectorField(help_text=_("Its length is the model's."))
    dimensions = models.PositiveSmallIntegerField()
    model_name = models.CharField(max_length=100)
    model_revision = models.CharField(max_length=64)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EmbeddingQuerySet.as_manager()

    class Meta:
        db_table = "image_embeddings"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="image_embedding_once", fields=["place", "camera", "moment", "model_name", "model_revision"]
            ),
        ]
        indexes = [models.Index(fields=["collection", "-created_at"], name="image_embedding_newest")]

    def __str__(self) -> str:
        return f"{self.camera}, {self.occurred_at:%Y-%m-%d %H:%M:%S}"


class VectorSet(models.Model):
    """A collection's embeddings by one model: being made, serving searches, or waiting to be removed.

    A new model's vectors are written beside the old ones, which serve until the new ones are complete.
    """

    id = models.BigAutoField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="vector_sets")
    model_name = models.CharField(max_length=100)
    model_revision = models.CharField(max_length=64)
    dimensions = models.PositiveSmallIntegerField(default=EMBEDDING_DIMENSIONS)
    folder = models.CharField(
        max_length=512, blank=True, help_text=_("Where the weights lie; empty: in the installed package.")
    )
    state = models.CharField(max_length=8, choices=VectorSetState)
    made = models.PositiveBigIntegerField(default=0, help_text=_("While it is being made: how many rows there are."))
    wanted = models.PositiveBigIntegerField(default=0, help_text=_("How many the set that serves has."))
    copied_to = models.UUIDField(null=True, help_text=_("The last row of the set that serves that has its like here."))
    heartbeat_at = models.DateTimeField(null=True)
    served_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = VectorSetQuerySet.as_manager()

    class Meta:
        db_table = "vector_sets"
        ordering = ["collection", "-id"]
        constraints = [
            models.UniqueConstraint(name="vector_set_once", fields=["collection", "model_name", "model_revision"]),
            models.UniqueConstraint(
                name="one_vector_set_serves", fields=["collection"], condition=Q(state=VectorSetState.SERVING)
            ),
            models.CheckConstraint(name="vector_set_state_known", condition=Q(state__in=VectorSetState.values)),
        ]

    def __str__(self) -> str:
        return f"{self.model_name} {self.model_revision} ({self.get_state_display()})"

    @property
    def progress(self) -> float:
        """0..1."""
        if self.state != VectorSetState.BUILDING:
            return 1.0
        return min(1.0, self.made / self.wanted) if self.wanted else 0.0


class VectorIndexHealth(models.Model):
    """How the index over the text vectors was at a moment, and what was done for it then."""

    id = models.BigAutoField(primary_key=True)
    measured_at = models.DateTimeField(auto_now_add=True)
    method = models.CharField(max_length=8)
    dimensions = models.PositiveSmallIntegerField()
    lists = models.PositiveIntegerField(default=0, help_text=_("Of IVFFlat."))
    rows = models.PositiveBigIntegerField()
    dead_rows = models.PositiveBigIntegerField()
    bytes = models.PositiveBigIntegerField()
    recall = models.FloatField(
        null=True, help_text=_("Of the ten nearest, the share that the index finds; empty: too few or too many rows.")
    )
    vacuumed_at = models.DateTimeField(null=True)
    analysed_at = models.DateTimeField(null=True)
    maintenance = models.CharField(max_length=32, blank=True)

    class Meta:
        db_table = "vector_index_health"
        ordering = ["-measured_at"]
        verbose_name_plural = _("vector index health")

    def __str__(self) -> str:
        return f"{self.method}, {self.rows} rows"


class SavedSearch(models.Model):
    """A search that a person keeps; it is asked anew, with what the person may read by then."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_searches")
    name = models.CharField(max_length=100)
    query = models.JSONField(help_text=_("The search page's own parameters."))
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "saved_searches"
        ordering = ["name"]
        constraints = [models.UniqueConstraint(name="saved_search_name_once", fields=["owner", "name"])]

    def __str__(self) -> str:
        return self.name


class CollectionMap(models.Model):
    """A collection's distinct texts on a plane, near where they mean alike; drawn by a worker."""

    collection = models.OneToOneField(Collection, primary_key=True, on_delete=models.CASCADE, related_name="map")
    points = models.JSONField(default=list, help_text=_("x and y in -1..1, text, how often, and a request id."))
    explained = models.FloatField(help_text=_("The share of the variance that the plane shows, 0..1."))
    embeddings = models.PositiveBigIntegerField(help_text=_("How many rows it was drawn from."))
    drawn_at = models.DateTimeField(auto_now=True)

    objects = CollectionMapQuerySet.as_manager()

    class Meta:
        db_table = "collection_maps"
        ordering = ["collection"]

    def __str__(self) -> str:
        return f"Map of {self.collection_id}"
