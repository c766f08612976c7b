from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Self, TypeVar

from django.db import models
from django.utils import timezone

from collections_app.querysets import CollectionScopedQuerySet
from pipeline.choices import JobState

if TYPE_CHECKING:
    pass


class PipelineRunQuerySet(CollectionScopedQuerySet):
    def unfinished(self) -> Self:
        return self.filter(state__in=[JobState.QUEUED, JobState.RUNNING])

    def stalled(self, after: timedelta) -> Self:
        """Unfinished, and silent for longer than ``after``."""
        return _stalled(self.unfinished(), after)


class RunShardQuerySet(models.QuerySet["RunShard"]):
    def unfinished(self) -> Self:
        return self.exclude(state=JobState.SUCCEEDED)


class QuarantinedRecordQuerySet(CollectionScopedQuerySet):
    collection_path = "run__collection"

    def waiting(self) -> Self:
        """Not yet replayed with success."""
        return self.filter(resolved_at=None)


class StoredObjectQuerySet(CollectionScopedQuerySet):
    pass


class ExportQuerySet(CollectionScopedQuerySet):
    def unfinished(self) -> Self:
        return self.filter(state__in=[JobState.QUEUED, JobState.RUNNING])

    def stalled(self, after: timedelta) -> Self:
        """Unfinished, and silent for longer than ``after``."""
        return _stalled(self.unfinished(), after)


class EmbeddingQuerySet(CollectionScopedQuerySet):
    def of_model(self, name: str, revision: str) -> Self:
        return self.filter(model_name=name, model_revision=revision)


Jobs = TypeVar("Jobs", PipelineRunQuerySet, ExportQuerySet)


def _stalled(jobs: Jobs, after: timedelta) -> Jobs:
    moment = timezone.now() - after
    return jobs.filter(created_at__lt=moment).exclude(heartbeat_at__gt=moment)
