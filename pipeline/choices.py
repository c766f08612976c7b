from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class JobState(models.TextChoices):
    """The life of a run, one of its stages, or an export."""

    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")


class Stage(models.TextChoices):
    """The stages of a run, in order."""

    VALIDATE = "validate", _("Validate")
    IMAGES = "images", _("Check images")
    ANOMALIES = "anomalies", _("Detect anomalies")
    ANONYMISE = "anonymise", _("Anonymise")
    FEATURES = "features", _("Features")
    EMBED = "embed", _("Embed")
    WRITE = "write", _("Write")
    VERIFY = "verify", _("Verify")
    PUBLISH = "publish", _("Publish")


class ExportFormat(models.TextChoices):
    PARQUET = "parquet", _("Parquet")
    CSV = "csv", _("CSV")
    LEROBOT = "lerobot", _("LeRobot dataset v3")
    PREFERENCES = "preferences", _("Preference pairs (JSON lines)")


class ObjectKind(models.TextChoices):
    """The class of data that a stored object holds, which retention rules speak of."""

    RAW = "raw", _("Raw records and images")
    PROCESSED = "processed", _("Processed batches")
    EXPORT = "export", _("Exports")
    EMBEDDINGS = "embeddings", _("Embeddings")
    ARCHIVE = "archive", _("Archived records")
    MODEL = "model", _("Model checkpoints")
    AUDIT = "audit", _("Audit trail")
    BACKUP = "backup", _("Backups")


class RetentionAction(models.TextChoices):
    DELETE = "delete", _("Delete")
    ARCHIVE = "archive", _("Archive")


class EmbeddingSource(models.TextChoices):
    RESULT = "result", _("Inference result")
    FEEDBACK = "feedback", _("Feedback")


class VectorSetState(models.TextChoices):
    """The life of a collection's vectors by one model."""

    BUILDING = "building", _("Being made")
    SERVING = "serving", _("Serving searches")
    RETIRED = "retired", _("To be removed")


class SearchBy(models.TextChoices):
    """What a search compares."""

    TEXT = "text", _("What was said")
    IMAGES = "images", _("What cameras saw")
