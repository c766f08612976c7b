"""Cutting a selection of records into parts that fit in memory, episodes whole where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from uuid import UUID

import pyarrow as pa
from django.db.models import Count, F, QuerySet, Window
from django.db.models.functions import RowNumber

from inference.models import InferenceResult
from pipeline import records

# Memory is bounded by this, not by the collection: about 10 kB a record while it is worked on.
CUT_RECORDS = 10_000
_SIZES = {"episode": pa.string(), "records": pa.int64()}


@dataclass(frozen=True, slots=True)
class Cut:
    """Episodes from ``first_episode`` to ``last_episode``, or records without one, made within a stretch of time."""

    first_episode: UUID | None
    last_episode: UUID | None
    created_from: datetime
    created_to: datetime
    records: int

    def of(self, results: QuerySet[InferenceResult]) -> QuerySet[InferenceResult]:
        """Those of ``results`` that are in this cut."""
        results = results.filter(created_at__gte=self.created_from, created_at__lt=self.created_to)
        if self.first_episode is None:
            return results.filter(episode=None)
        return results.filter(episode__gte=self.first_episode, episode__lte=self.last_episode)


def cuts(
    results: QuerySet[InferenceResult], start: datetime, end: datetime, *, size: int = CUT_RECORDS
) -> Iterator[Cut]:
    """Cuts of about ``size`` records, in the order of episodes, that together hold all ``results`` of a window.

    An episode larger than a cut, and records without an episode, are cut by time.
    """
    results = results.order_by()
    first = last = None
    held = 0
    for episode, count in _episodes(results):
        if first is not None and held + count > size:
            yield Cut(first, last, start, end, held)
            first, held = None, 0
        if count > size:
            for since, until, part in _stretches(results.filter(episode=episode), start, end, size):
                yield Cut(episode, episode, since, until, part)
            continue
        first = first or episode
        last = episode
        held += count
    if first is not None:
        yield Cut(first, last, start, end, held)
    for since, until, part in _stretches(results.filter(episode=None), start, end, size):
        yield Cut(None, None, since, until, part)


def _episodes(results: QuerySet[InferenceResult]) -> Iterator[tuple[UUID, int]]:
    """Each episode of ``results``, in order, and how many of them it has."""
    sizes = results.exclude(episode=None).values("episode").annotate(records=Count("pk")).order_by("episode")
    table = records.copied(sizes.values_list("episode", "records"), _SIZES)
    for batch in table.to_batches(max_chunksize=2000):
        yield from zip(map(UUID, batch.column("episode").to_pylist()), batch.column("records").to_pylist(), strict=True)


def _stretches(
    results: QuerySet[InferenceResult], start: datetime, end: datetime, size: int
) -> Iterator[tuple[datetime, datetime, int]]:
    """Stretches of time that hold about ``size`` of ``results`` each, and how many; none where there are none."""
    numbered = results.annotate(
        place=Window(RowNumber(), order_by=[F("created_at").asc(), F("id").asc()]) % size  # 1 begins a stretch
    )
    begins = numbered.filter(place=1 % size).values_list("created_at", flat=True)
    bounds = [start, *sorted(begins)[1:], end]
    for since, until in pairwise(bounds):
        count = results.filter(created_at__gte=since, created_at__lt=until).count()
        if count:
            yield since, until, count
