"""What the pages show of collections, results and episodes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db.models import Count, DateTimeField, F, Func, IntegerField, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Least, TruncHour
from django.utils import timezone

from accounts.models import User
from accounts.principals import Principal
from collections_app.models import Collection, Episode, Robot
from core import object_store
from core.problems import not_found
from feedback.models import Feedback
from inference.choices import DeploymentRole, Verdict
from inference.models import Deployment, InferenceResult
from pipeline.selectors import Percentile, collection_statistics

ONLINE_WITHIN = timedelta(minutes=1)
SCORE_BINS = 10
SLOTS = 24
# Minutes of one of the slots of a plot, the finest first.
STEPS = (5, 20, 60)
STATISTICS_SECONDS = 30
HOURS_SECONDS = 10


@dataclass(frozen=True, slots=True)
class CollectionCard:
    """A collection in a list: what goes on there now. ``per_hour`` holds 24 counts, oldest first."""

    collection: Collection
    robots: int
    robots_online: int
    per_hour: list[int]
    last_hour: int
    last_hour_unsafe: int
    policies: list[str]


def collection_cards(principal: Principal, *, limit: int) -> list[CollectionCard]:
    """The newest ``limit`` collections that ``principal`` may read, the busiest first; four queries, however many."""
    collections = list(Collection.objects.restrict(principal).filter(archived_at=None)[:limit])
    now = timezone.now()
    robots: dict[Any, Mapping[str, Any]] = {
        row["collection"]: row
        for row in Robot.objects.filter(collection__in=collections)
        .order_by()
        .values("collection")
        .annotate(count=Count("pk"), online=Count("pk", filter=Q(last_seen_at__gte=now - ONLINE_WITHIN)))
    }
    hours = _hours_of(collections)
    policies: dict[Any, list[str]] = {}
    deployed = Deployment.objects.active().filter(collection__in=collections).select_related("policy_version")
    for deployment in deployed:
        policies.setdefault(deployment.collection_id, []).append(str(deployment.policy_version))
    cards = [
        CollectionCard(
            collection=collection,
            robots=robots.get(collection.pk, {}).get("count", 0),
            robots_online=robots.get(collection.pk, {}).get("online", 0),
            per_hour=[count for count, _unsafe in hours[collection.pk]],
            last_hour=hours[collection.pk][-1][0],
            last_hour_unsafe=hours[collection.pk][-1][1],
            policies=policies.get(collection.pk, []),
        )
        for collection in collections
    ]
    return sorted(cards, key=lambda card: sum(card.per_hour), reverse=True)


def _hours_of(collections: list[Collection]) -> dict[Any, list[list[int]]]:
    """For each collection 24 pairs of results and unsafe results, oldest first; a few seconds old at most.

    Counting a busy day reads every row of it, so what was counted is kept for the next visitor.
    """
    first = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    keys = {collection.pk: f"collection-hours:{first:%Y%m%d%H}:{collection.pk}" for collection in collections}
    kept = cache.get_many(keys.values())
    missing = {pk: [[0, 0] for _ in range(24)] for pk, key in keys.items() if key not in kept}
    counted = (
        InferenceResult.objects.sent()
        .filter(collection__in=list(missing), created_at__gte=first, created_at__lt=first + timedelta(hours=24))
        .order_by()
        .values("collection", hour=TruncHour("created_at"))
        .annotate(count=Count("pk"), unsafe=Count("pk", filter=~Q(safety_verdict=Verdict.PASS)))
    )
    for row in counted:
        at = int((row["hour"] - first).total_seconds() // 3600)
        missing[row["collection"]][at] = [row["count"], row["unsafe"]]
    cache.set_many({keys[pk]: hours for pk, hours in missing.items()}, HOURS_SECONDS)
    return {pk: missing[pk] if pk in missing else kept[key] for pk, key in keys.items()}


@dataclass(frozen=True, slots=True)
class Slot:
    """A stretch of a collection's time; latencies in milliseconds, None where nothing was answered."""

    start: datetime
    passed: int = 0
    clamped: int = 0
    rejected: int = 0
    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class Recent:
    """The latest ``SLOTS`` stretches of ``minutes``, oldest first, the running one last."""

    minutes: int
    slots: list[Slot]


def recent(collection: Collection) -> Recent:
    """The last day by hours; where the first result of that day is younger, less time in finer steps, so that there is
    something to see from the first minutes on. Half a minute old at most."""
    now = timezone.now()
    day = InferenceResult.objects.sent().filter(collection=collection, created_at__gte=now - timedelta(days=1))
    oldest = day.order_by("created_at").values_list("created_at", flat=True).first()
    fine_enough = (minutes for minutes in STEPS if oldest and now - oldest < timedelta(minutes=minutes * (SLOTS - 1)))
    minutes = next(fine_enough, STEPS[-1])
    step = timedelta(minutes=minutes)
    running = datetime.fromtimestamp(now.timestamp() // step.total_seconds() * step.total_seconds(), UTC)
    first = running - step * (SLOTS - 1)
    key = f"collection-recent:{first:%Y%m%d%H%M}:{minutes}:{collection.pk}"
    figures = cache.get_or_set(key, lambda: _figures_per_slot(collection, first, step), STATISTICS_SECONDS) or []
    return Recent(minutes, [Slot(first + step * at, *figures[at]) for at in range(SLOTS)])


def _figures_per_slot(collection: Collection, first: datetime, step: timedelta) -> list[list[Any]]:
    """The fields of ``Slot`` but its start, from ``first`` on, as JSON keeps them."""
    figures: list[list[Any]] = [[0, 0, 0, None, None] for _ in range(SLOTS)]
    slot = Func(Value(step), "created_at", Value(first), function="date_bin", output_field=DateTimeField())
    rows = (
        InferenceResult.objects.sent()
        .filter(collection=collection, created_at__gte=first, created_at__lt=first + step * SLOTS)
        .order_by()
        .values(slot=slot)
        .annotate(
            passed=Count("pk", filter=Q(safety_verdict=Verdict.PASS)),
            clamped=Count("pk", filter=Q(safety_verdict=Verdict.CLAMPED)),
            rejected=Count("pk", filter=Q(safety_verdict=Verdict.REJECTED)),
            p50=Percentile("total_ms", 0.5),
            p95=Percentile("total_ms", 0.95),
        )
    )
    for row in rows:
        at = (row.pop("slot") - first) // step
        figures[at] = [row["passed"], row["clamped"], row["rejected"], row["p50"], row["p95"]]
    return figures


@dataclass(frozen=True, slots=True)
class LatestEpisode:
    """An episode, and a link to the newest picture of it, or "" where there is none."""

    episode: Episode
    picture: str


def latest_episodes(principal: Principal, *, limit: int) -> list[LatestEpisode]:
    """The newest ``limit`` episodes that ``principal`` may read, of the hundred newest collections.

    Three queries, each a few steps in an index for every collection.
    """
    collections = Collection.objects.restrict(principal).filter(archived_at=None).values_list("pk", flat=True)[:100]
    newest = [
        Episode.objects.filter(collection=collection).order_by("-created_at", "-pk").values("pk", "created_at")[:limit]
        for collection in collections
    ]
    if not newest:
        return []
    found = newest[0].union(*newest[1:]).order_by("-created_at")[:limit] if newest[1:] else newest[0]
    last = InferenceResult.objects.sent().filter(episode=OuterRef("pk")).order_by("-step", "-created_at")
    episodes = (
        Episode.objects.filter(pk__in=[row["pk"] for row in found])
        .select_related("collection", "robot")
        .annotate(pictures=Subquery(last.values("images")[:1]))
        .order_by("-created_at", "-pk")
    )
    return [
        LatestEpisode(episode, next(map(object_store.url, (episode.pictures or {}).values()), ""))
        for episode in episodes
    ]


@dataclass(frozen=True, slots=True)
class Bin:
    """How many of the last day's results had a safety score in [low, high); the last bin includes 1."""

    low: float
    high: float
    count: int


def safety_scores(collection: Collection) -> list[Bin]:
    """The last day's safety scores in ten bins; half a minute old at most."""
    key = f"collection-safety-scores:{collection.pk}"
    counts = cache.get_or_set(key, lambda: _scores_per_bin(collection), STATISTICS_SECONDS) or []
    return [Bin(at / SCORE_BINS, (at + 1) / SCORE_BINS, counts[at]) for at in range(SCORE_BINS)]


def _scores_per_bin(collection: Collection) -> list[int]:
    since = timezone.now() - timedelta(days=1)
    # width_bucket numbers from 1, and a score of exactly 1 lies beyond the last: it belongs to it.
    bucket = Least(
        Func("safety_score", Value(0.0), Value(1.0), Value(SCORE_BINS), function="width_bucket"),
        Value(SCORE_BINS),
        output_field=IntegerField(),
    )
    rows = (
        InferenceResult.objects.sent()
        .filter(collection=collection, created_at__gte=since)
        .order_by()
        .values(bucket=bucket)
        .annotate(count=Count("pk"))
    )
    counts = {row["bucket"]: row["count"] for row in rows}
    return [counts.get(at + 1, 0) for at in range(SCORE_BINS)]


def statistics_of(collection: Collection) -> dict[str, Any]:
    """Counts over everything that the collection holds, at most half a minute old: they read every row."""
    key = f"collection-statistics:{collection.pk}"
    return cache.get_or_set(key, lambda: collection_statistics(collection), STATISTICS_SECONDS) or {}


def robots_of(collection: Collection) -> QuerySet[Robot]:
    return Robot.objects.filter(collection=collection).order_by(F("last_seen_at").desc(nulls_last=True), "name")


def deployments_of(collection: Collection) -> list[tuple[Deployment, float]]:
    """The collection's deployments, active ones first, each with its share of the traffic (0 for shadows)."""
    deployments = list(
        Deployment.objects.filter(collection=collection).select_related("policy_version").order_by("role", "-weight")
    )
    total = sum(d.weight for d in deployments if d.role == DeploymentRole.ACTIVE) or 1
    return [(d, d.weight / total if d.role == DeploymentRole.ACTIVE else 0.0) for d in deployments]


def results_of(
    collection: Collection, *, verdict: str = "", robot: str = "", model: str = ""
) -> QuerySet[InferenceResult]:
    """The collection's results narrowed by a safety verdict, a robot's name and ``name`` or ``name@version``."""
    results = InferenceResult.objects.sent().filter(collection=collection).select_related("robot", "episode")
    if verdict:
        results = results.filter(safety_verdict=verdict)
    if robot:
        results = results.filter(robot__name=robot)
    if model:
        name, _, version = model.partition("@")
        results = results.filter(model_name=name, **({"model_version": version} if version else {}))
    return results


def episodes_of(collection: Collection, *, outcome: str = "", robot: str = "", tag: str = "") -> QuerySet[Episode]:
    """The collection's episodes narrowed by outcome (``none``: not yet known), robot's name and tag."""
    episodes = Episode.objects.filter(collection=collection).select_related("robot")
    if outcome:
        episodes = episodes.filter(outcome="" if outcome == "none" else outcome)
    if robot:
        episodes = episodes.filter(robot__name=robot)
    if tag:
        episodes = episodes.filter(tags__contains=[tag])
    return episodes


def visible_result(user: User, request_id: uuid.UUID) -> InferenceResult:
    """The result that answered ``request_id``. Raises ``Problem`` 404 where ``user`` may not read it."""
    result = (
        InferenceResult.objects.restrict(user)
        .with_request_id(request_id)
        .select_related("collection__action_space", "robot", "episode")
        .first()
    )
    if result is None:
        raise not_found("No such result.")
    return result


def newest_corrections(results: list[InferenceResult]) -> dict[uuid.UUID, list[list[float]]]:
    """The newest correction of each of ``results`` that has one: ``[horizon][dimension]``, in the same units."""
    corrections = (
        Feedback.objects.filter(inference_result__in=[result.pk for result in results])
        .usable()
        .corrections()
        .with_final_actions()
        .order_by("created_at")
        .values_list("inference_result_id", "final_actions")
    )
    return dict(corrections)
