"""What the live page starts from: the robots of a collection, each with its newest result."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import OuterRef, Subquery
from django.utils import timezone

from collections_app.models import Collection, Robot
from inference.models import InferenceResult
from inference.results import safety_of, timing_of
from inference.selectors import image_urls

SHOWN_ROBOTS = 48
RECENTLY = timedelta(days=1)


def newest_results(collection: Collection) -> list[InferenceResult]:
    """The newest result of each robot that spoke within a day, last heard first; at most ``SHOWN_ROBOTS`` of them.

    Two queries, however many robots: the newest id of each is one probe of the index on (robot, created_at).
    """
    since = timezone.now() - RECENTLY
    newest = InferenceResult.objects.sent().filter(robot=OuterRef("pk"), created_at__gte=since).order_by("-created_at")
    robots = (
        Robot.objects.filter(collection=collection, last_seen_at__gte=since)
        .annotate(newest=Subquery(newest.values("pk")[:1]))
        .order_by("-last_seen_at")[:SHOWN_ROBOTS]
    )
    identifiers = [robot.newest for robot in robots if robot.newest]
    return list(
        InferenceResult.objects.filter(pk__in=identifiers, created_at__gte=since)
        .select_related("robot", "episode")
        .order_by("robot__name")
    )


def live_message(result: InferenceResult) -> dict[str, Any]:
    """A recorded result as the ``result`` message of ``/ws/inference``."""
    return {
        "type": "result",
        "request_id": str(result.request_id),
        "robot": result.robot.name if result.robot else "",
        "episode": result.episode.external_id if result.episode else None,
        "step": result.step,
        "instruction": result.instruction,
        "actions": result.output_actions,
        "safety": safety_of(result),
        "model": {"name": result.model_name, "version": result.model_version},
        "timing": timing_of(result),
        "thumbnails": image_urls(result),
        "created_at": result.created_at.isoformat(),
    }
