from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from django.db import models
from django.utils import timezone

from collections_app.querysets import CollectionScopedQuerySet
from pipeline.choices import JobState, VectorSetState


class JobQuerySet(CollectionScopedQuerySet):
    """Runs and exports: work with a state, that beats while it goes on."""

    def unfinished(self) -> Self:
        return self.filter(state__in=[JobState.QUEUED, JobState.RUNNING])

    def stalled(self, after: timedelta) -> Self:
        """Unfinished, and silent for longer than ``after``."""
        moment = timezone.now() - after
        return self.unfinished().filter(created_at__lt=moment).exclude(heartbeat_at__gt=moment)


class RunShardQuerySet(models.QuerySet[Any]):
    def unfinished(self) -> Self:
        return self.exclude(state=JobState.SUCCEEDED)


class QuarantinedRecordQuerySet(CollectionScopedQuerySet):
    collection_path = "run__collection"

    def waiting(self) -> Self:
        """Not yet replayed with success."""
        return self.filter(resolved_at=None)


class StoredObjectQuerySet(CollectionScopedQuerySet):
    pass


class EmbeddingQuerySet(CollectionScopedQuerySet):
    def of_model(self, name: str, revision: str) -> Self:
        return self.filter(model_name=name, model_revision=revision)


class VectorSetQuerySet(CollectionScopedQuerySet):
    def of_model(self, name: str, revision: str) -> Self:
        return self.filter(model_name=name, model_revision=revision)

    def serving(self) -> Self:
        return self.filter(state=VectorSetState.SERVING)

    def building(self) -> Self:
        return self.filter(state=VectorSetState.BUILDING)

    def open(self) -> Self:
        """Those that new results and comments are written to."""
        return self.exclude(state=VectorSetState.RETIRED)

    def retired(self) -> Self:
        return self.filter(state=VectorSetState.RETIRED)


class CollectionMapQuerySet(CollectionScopedQuerySet):
    pass
