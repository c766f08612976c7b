"""Two policy versions of a collection side by side: how far apart they act, how safe, how quick, how people judge them.

Reads the newest ``NEWEST`` results of each version from the last ``DAYS`` days, shadows included. What was measured on
steps is compared by ``intervals``.
"""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from collections_app.choices import Outcome
from collections_app.models import Collection, Episode
from feedback.choices import TYPES_WITH_ACTIONS, FeedbackType
from feedback.models import Feedback
from inference.models import InferenceResult, PolicyVersion
from vla_project.pages import intervals
from vla_project.pages.intervals import Estimate, Sample

NEWEST = 2000
DAYS = 30
_FIELDS = (
    "id",
    "request_id",
    "episode_id",
    "output_actions",
    "proposed_actions",
    "safety_score",
    "safety_verdict",
    "safety_violations",
    "inference_time_ms",
    "cached",
    "created_at",
)


@dataclass(slots=True)
class Side:
    """One version's results, and what people said of them. ``ratings`` holds one mean for each rated result."""

    version: PolicyVersion
    rows: list[dict[str, Any]]
    ratings: list[float] = field(default_factory=list)
    judged: list[tuple[float, Hashable]] = field(default_factory=list)
    outcomes: list[float] = field(default_factory=list)

    @property
    def oldest(self) -> datetime | None:
        return self.rows[-1]["created_at"] if self.rows else None

    def sample(self, values: Sequence[float], rows: Sequence[dict[str, Any]] | None = None) -> Sample:
        """``values`` of the rows; a result without an episode is one of its own."""
        of = self.rows if rows is None else rows
        # Other draws than the other version's, so that the two replicates of a difference are independent.
        return Sample(values, [row["episode_id"] or row["id"] for row in of], seed=self.version.pk.int & 0xFFFF)


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the comparison. ``better`` says which way is good: -1 lower, 1 higher, 0 neither.

    ``counts`` are how many observations each side had; ``method`` names the interval.
    """

    name: str
    unit: str
    digits: int
    better: int
    first: Estimate | None
    second: Estimate | None
    difference: Estimate | None
    counts: tuple[int, int]
    method: str

    @property
    def finding(self) -> str:
        """``better``, ``worse`` or ``other`` where the difference's interval leaves out zero; else ``unclear``."""
        if self.difference is None or self.difference.low is None or self.difference.high is None:
            return "unknown"
        if self.difference.low <= 0 <= self.difference.high:
            return "unclear"
        if not self.better:
            return "other"
        return "better" if (self.difference.value > 0) == (self.better > 0) else "worse"


@dataclass(frozen=True, slots=True)
class Distance:
    """How far apart the two chunks of one observation lie in one dimension, in its unit and as a share of its range."""

    name: str
    unit: str
    absolute: Estimate
    relative: Estimate | None


@dataclass(frozen=True, slots=True)
class Comparison:
    first: Side
    second: Side
    measures: list[Measure]
    pairs: int
    distances: list[Distance]
    distance: Estimate | None


def versions_of(collection: Collection) -> list[PolicyVersion]:
    """The versions that are deployed on the collection or have answered it lately, newest first."""
    since = timezone.now() - timedelta(days=DAYS)
    answered = (
        InferenceResult.objects.filter(collection=collection, created_at__gte=since, policy_version__isnull=False)
        .order_by()
        .values("policy_version")
        .distinct()
    )
    return list(
        PolicyVersion.objects.filter(Q(deployments__collection=collection) | Q(pk__in=answered))
        .defer("options", "info")
        .distinct()
    )


def compare(collection: Collection, first: PolicyVersion, second: PolicyVersion) -> Comparison:
    """Everything the page shows, in eleven queries however many results there are."""
    sides = [_side(collection, version) for version in (first, second)]
    a, b = sides
    pairs = _pairs(a, b)
    distance, distances = _distances(collection, a, b, pairs)
    return Comparison(a, b, _measures(a, b), len(pairs), distances, distance)


def _side(collection: Collection, version: PolicyVersion) -> Side:
    since = timezone.now() - timedelta(days=DAYS)
    newest = InferenceResult.objects.filter(collection=collection, policy_version=version, created_at__gte=since)
    side = Side(version, list(newest.order_by("-created_at").values(*_FIELDS)[:NEWEST]))
    episode_of = {row["id"]: row["episode_id"] or row["id"] for row in side.rows}
    ratings: dict[uuid.UUID, list[int]] = {}
    corrected: dict[uuid.UUID, bool] = {}
    said = Feedback.objects.filter(collection=collection, current=True, inference_result__in=list(episode_of))
    for result, kind, rating in said.order_by().values_list("inference_result_id", "feedback_type", "rating"):
        if kind != FeedbackType.COMMENT:
            corrected[result] = corrected.get(result, False) or kind in TYPES_WITH_ACTIONS
        if rating is not None:
            ratings.setdefault(result, []).append(rating)
    side.ratings = [sum(given) / len(given) for given in ratings.values()]
    side.judged = [(float(was), episode_of[result]) for result, was in corrected.items()]
    # An episode of a shadow was driven by another version: its outcome says nothing of this one.
    driven = newest.filter(shadow=False, episode__isnull=False).values("episode")
    outcomes = Episode.objects.filter(pk__in=driven, outcome__in=(Outcome.SUCCESS, Outcome.FAILURE))
    side.outcomes = [float(outcome == Outcome.SUCCESS) for outcome in outcomes.values_list("outcome", flat=True)]
    return side


def _measures(a: Side, b: Side) -> list[Measure]:
    computed = [[row for row in side.rows if not row["cached"]] for side in (a, b)]
    times = [
        side.sample([row["inference_time_ms"] for row in rows], rows)
        for side, rows in zip((a, b), computed, strict=True)
    ]
    broken = [side.sample([float(bool(row["safety_violations"])) for row in side.rows]) for side in (a, b)]
    refused = [side.sample([float(row["safety_verdict"] == "rejected") for row in side.rows]) for side in (a, b)]
    scores = [side.sample([row["safety_score"] for row in side.rows]) for side in (a, b)]
    judged = [Sample([was for was, _of in side.judged], [of for _was, of in side.judged]) for side in (a, b)]
    outcomes = [Sample(side.outcomes, range(len(side.outcomes))) for side in (a, b)]
    return [
        _by_share(_("Chunks that break a limit"), -1, broken),
        _by_share(_("Chunks rejected"), -1, refused),
        _by_bootstrap(_("Safety score, mean"), "", 3, 1, scores, [sample.mean() for sample in scores]),
        _by_bootstrap(_("Time in the model, median"), "ms", 1, -1, times, [sample.quantile(0.5) for sample in times]),
        _by_bootstrap(
            _("Time in the model, 95th percentile"), "ms", 1, -1, times, [sample.quantile(0.95) for sample in times]
        ),
        Measure(
            _("People's rating, 1 to 5"),
            "",
            2,
            1,
            intervals.mean_of_few(a.ratings),
            intervals.mean_of_few(b.ratings),
            intervals.welch(a.ratings, b.ratings),
            (len(a.ratings), len(b.ratings)),
            "Welch",
        ),
        _by_share(_("Judged chunks that people corrected"), -1, judged),
        _by_share(_("Episodes that succeeded"), 1, outcomes),
    ]


def _by_share(name: str, better: int, samples: Sequence[Sample]) -> Measure:
    shares = [intervals.share(sample) for sample in samples]
    percent = [None if share is None else _scaled(share, 100) for share in shares]
    first, second = shares
    difference = None if first is None or second is None else intervals.difference_of_shares(first, second)
    return Measure(
        name,
        "%",
        1,
        better,
        percent[0],
        percent[1],
        None if difference is None else _scaled(difference, 100),
        (len(samples[0]), len(samples[1])),
        "Wilson",
    )


def _by_bootstrap(
    name: str, unit: str, digits: int, better: int, samples: Sequence[Sample], drawn: Sequence[Any]
) -> Measure:
    first, second = (
        intervals.bootstrapped(values, episodes=sample.episodes) for values, sample in zip(drawn, samples, strict=True)
    )
    difference = None
    if drawn[0] is not None and drawn[1] is not None:
        fewest = min(sample.episodes for sample in samples)
        difference = intervals.bootstrapped(drawn[1] - drawn[0], episodes=fewest)
    counts = (len(samples[0]), len(samples[1]))
    return Measure(name, unit, digits, better, first, second, difference, counts, "bootstrap")


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(
        estimate.value * factor,
        None if estimate.low is None else estimate.low * factor,
        None if estimate.high is None else estimate.high * factor,
    )


def _pairs(a: Side, b: Side) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The observations that both saw, as a shadow does, with what each proposed before the safety check."""
    seen = {row["request_id"]: row for row in b.rows if _proposed(row)}
    return [(row, seen[row["request_id"]]) for row in a.rows if row["request_id"] in seen and _proposed(row)]


def _proposed(row: dict[str, Any]) -> Any:
    return row["proposed_actions"] or row["output_actions"]


def _distances(
    collection: Collection, a: Side, b: Side, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]
) -> tuple[Estimate | None, list[Distance]]:
    """The mean absolute difference over a chunk: of all dimensions as shares of their ranges, and of each one."""
    dimensions = list(collection.action_space.dimensions.order_by("position"))
    rows, found = [], []
    for one, other in pairs:
        first, second = np.asarray(_proposed(one), np.float64), np.asarray(_proposed(other), np.float64)
        if first.shape == second.shape and first.ndim == 2 and first.shape[1] == len(dimensions):
            rows.append(one)
            found.append(np.abs(first - second).mean(axis=0))
    if not found:
        return None, []
    apart = np.stack(found)
    ranges = np.array([d.high - d.low if d.low is not None and d.high is not None else np.nan for d in dimensions])
    distances = []
    for index, dimension in enumerate(dimensions):
        absolute = _mean(a, rows, apart[:, index])
        relative = None if np.isnan(ranges[index]) else _scaled(absolute, 100 / ranges[index])
        distances.append(Distance(dimension.name, dimension.unit, absolute, relative))
    shares = apart / np.where(np.isnan(ranges), 1.0, ranges)
    return _scaled(_mean(a, rows, shares.mean(axis=1)), 100), distances


def _mean(side: Side, rows: Sequence[dict[str, Any]], values: Any) -> Estimate:
    sample = side.sample(values, rows)
    estimate = intervals.bootstrapped(sample.mean(), episodes=sample.episodes)
    assert estimate is not None
    return estimate
