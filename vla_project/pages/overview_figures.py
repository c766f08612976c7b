"""The overview's slower figures: who labelled what, how good the data is, and where its bytes are.

They read much and change slowly, so each is kept for a few minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from collections_app.models import Collection
from feedback.choices import FeedbackType, ReviewState
from feedback.models import Feedback
from pipeline.choices import JobState, ObjectKind
from pipeline.models import PipelineRun, StoredObject

KEPT_SECONDS = 120
DAYS = 14
RUNS = 12
_WITH_ACTIONS = (FeedbackType.CORRECTION, FeedbackType.INTERVENTION)


@dataclass(frozen=True, slots=True)
class Day:
    """What people said on one day (UTC)."""

    day: date
    corrections: int = 0
    judgements: int = 0


def labels_per_day(collection: Collection) -> list[Day]:
    """The last two weeks, oldest first."""
    today = timezone.now().date()
    first = today - timedelta(days=DAYS - 1)
    counts = _kept(f"labels:{today}", collection, lambda: _labels(collection, first))
    return [Day(first + timedelta(days=at), *counts[at]) for at in range(DAYS)]


def _labels(collection: Collection, first: date) -> list[list[int]]:
    counts = [[0, 0] for _ in range(DAYS)]
    rows = (
        Feedback.objects.filter(collection=collection, created_at__date__gte=first)
        .filter(created_at__gte=timezone.now() - timedelta(days=DAYS))
        .order_by()
        .values(day=TruncDate("created_at"))
        .annotate(
            corrections=Count("pk", filter=Q(feedback_type__in=_WITH_ACTIONS)),
            judgements=Count("pk", filter=~Q(feedback_type__in=_WITH_ACTIONS)),
        )
    )
    for row in rows:
        counts[(row["day"] - first).days] = [row["corrections"], row["judgements"]]
    return counts


@dataclass(frozen=True, slots=True)
class RunQuality:
    """What became of the records of one run."""

    at: datetime
    written: int
    quarantined: int


def quality_of_runs(collection: Collection) -> list[RunQuality]:
    """The newest finished runs, oldest first."""
    runs = PipelineRun.objects.filter(collection=collection, state=JobState.SUCCEEDED).order_by("-created_at")[:RUNS]
    return [RunQuality(run.created_at, run.records_out, run.records_quarantined) for run in reversed(runs)]


def reviews_of(collection: Collection) -> dict[str, int]:
    """How many current answers are in each state of review, by its name."""
    counted = _kept("reviews", collection, lambda: _reviews(collection))
    return {str(ReviewState(state).label): count for state, count in counted.items()}


def _reviews(collection: Collection) -> dict[str, int]:
    current = Feedback.objects.filter(collection=collection, current=True)
    return dict(current.order_by("review_state").values_list("review_state").annotate(Count("pk")))


@dataclass(frozen=True, slots=True)
class Kept:
    """The objects of one kind that a collection has in storage."""

    kind: str
    objects: int
    bytes: int


def storage_of(collection: Collection) -> list[Kept]:
    """What the catalogue holds of the collection, the largest kind first."""
    rows = _kept("storage", collection, lambda: _storage(collection))
    return [Kept(str(ObjectKind(kind).label), objects, size) for kind, objects, size in rows]


def _storage(collection: Collection) -> list[list[Any]]:
    rows = (
        StoredObject.objects.filter(collection=collection)
        .order_by()
        .values_list("kind")
        .annotate(objects=Count("pk"), size=Sum("bytes"))
    )
    return sorted(([kind, objects, size or 0] for kind, objects, size in rows), key=lambda row: -row[2])


def _kept(name: str, collection: Collection, count: Any) -> Any:
    return cache.get_or_set(f"collection-{name}:{collection.pk}", count, KEPT_SECONDS)
