"""What a search is narrowed by, applied inside its queries."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from collections_app.models import Collection, Robot
from feedback.models import Feedback
from inference.models import PolicyVersion


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What hits must be; None is anything. ``model`` is ``name`` or ``name@version``.

    ``label`` is a type of feedback that somebody gave about the moment or its episode; ``anomaly`` is whether a run
    found its episode out of the ordinary.
    """

    collection: str | None = None
    robot: str | None = None
    model: str | None = None
    verdict: str | None = None
    outcome: str | None = None
    tag: str | None = None
    label: str | None = None
    anomaly: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def apply(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Those of ``rows``, embeddings of texts or of pictures, that are so."""
        name, _, version = (self.model or "").partition("@")
        named = {
            "collection": None if self.collection is None else Collection.objects.filter(slug=self.collection),
            "robot": None if self.robot is None else Robot.objects.filter(name=self.robot),
            "policy_version": PolicyVersion.objects.filter(name=name, **({"version": version} if version else {}))
            if name
            else None,
        }
        # As constants: in the scan of a vector index each join would be made for each row, and the planner, which
        # weighs that scan against reading a small collection as it is, would not know how small it is.
        for field, chosen in named.items():
            if chosen is not None:
                rows = rows.filter(**{f"{field}__in": list(chosen.values_list("pk", flat=True))})
        lookups = {
            "safety_verdict": self.verdict,
            "episode__outcome": self.outcome,
            "episode__tags__contains": None if self.tag is None else [self.tag],
            "occurred_at__gte": self.created_after,
            "occurred_at__lt": self.created_before,
        }
        rows = rows.filter(**{lookup: value for lookup, value in lookups.items() if value is not None})
        if self.label is not None:
            given = Feedback.objects.usable().filter(feedback_type=self.label)
            # Two sets that are made once: asked row by row they would be joins in the scan of the vector index.
            episodes = given.filter(inference_result__episode__isnull=False).values("inference_result__episode")
            rows = rows.filter(Q(inference_result__in=given.values("inference_result")) | Q(episode__in=episodes))
        if self.anomaly is not None:
            odd = {"metadata__contains": {"anomalous": True}}
            rows = rows.filter(**odd) if self.anomaly else rows.exclude(**odd)
        return rows


ANYTHING = SearchFilters()
FILTER_NAMES = tuple(field.name for field in fields(SearchFilters))
