"""Runs that nobody asks for: at night over what is new, and soon after people have corrected something."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Max, Min, QuerySet
from django.utils import timezone

from collections_app.models import Collection
from feedback.models import Feedback
from pipeline import services
from pipeline.choices import JobState
from pipeline.models import PipelineRun

# People correct one chunk after another: the run begins when none has come for this long.
QUIET = timedelta(minutes=5)


def start_nightly_runs() -> list[PipelineRun]:
    """Start a run for each collection that has records since its last one ended its window."""
    started = []
    for collection in Collection.objects.filter(archived_at=None):
        since = _runs(collection).aggregate(until=Max("window_end"))["until"]
        new = collection.results.filter(shadow=False, **({"created_at__gte": since} if since else {}))
        if new.exists():
            started.append(services.start_run(collection=collection, window_start=since, trigger="schedule"))
    return started


def start_runs_for_feedback() -> list[PipelineRun]:
    """Start a run over the results that were corrected since the collection's last run, once people pause."""
    started = []
    for collection in Collection.objects.filter(archived_at=None):
        known = _runs(collection).aggregate(at=Max("created_at"))["at"]
        corrections = Feedback.objects.usable().corrections().filter(collection=collection)
        new = corrections.filter(created_at__gt=known) if known else corrections
        found = new.aggregate(newest=Max("created_at"), first=Min("inference_result__created_at"))
        if found["newest"] is not None and found["newest"] < timezone.now() - QUIET:
            started.append(services.start_run(collection=collection, window_start=found["first"], trigger="feedback"))
    return started


def _runs(collection: Collection) -> QuerySet[PipelineRun]:
    return PipelineRun.objects.filter(collection=collection).exclude(state__in=[JobState.FAILED, JobState.CANCELLED])
