"""Reading runs, exports and statistics."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Aggregate, Avg, Count, FloatField, Model, Q, QuerySet
from django.db.models.functions import TruncHour
from django.utils import timezone

from accounts.choices import Permission
from accounts.principals import Principal
from collections_app.models import Collection
from collections_app.selectors import visible_collections
from core import object_store
from core.problems import forbidden, not_found
from pipeline.models import Export, PipelineRun, QuarantinedRecord


class Percentile(Aggregate):
    """``percentile_cont`` of an expression."""

    function = "percentile_cont"
    output_field = FloatField()

    def __init__(self, expression: str, fraction: float) -> None:
        super().__init__(expression)
        self.template = f"%(function)s({float(fraction)}) WITHIN GROUP (ORDER BY %(expressions)s)"


def permitted_run(
    principal: Principal, run_id: uuid.UUID, permission: Permission = Permission.DATA_READ
) -> PipelineRun:
    """The run, for a caller who needs ``permission`` on its collection. Raises ``Problem`` 404 or 403."""
    run: PipelineRun = _permitted(PipelineRun, principal, run_id, permission)
    return run


def permitted_export(
    principal: Principal, export_id: uuid.UUID, permission: Permission = Permission.DATA_READ
) -> Export:
    """The export, for a caller who needs ``permission`` on its collection. Raises ``Problem`` 404 or 403."""
    export: Export = _permitted(Export, principal, export_id, permission)
    return export


def _permitted(
    model: type[PipelineRun | Export], principal: Principal, identifier: uuid.UUID, permission: Permission
) -> Any:
    rows = model.objects.select_related("collection").filter(pk=identifier)
    row = rows.filter(collection__in=visible_collections(principal).values("pk")).first()
    if row is None:
        raise not_found()
    if not rows.restrict(principal, permission).exists():
        raise forbidden(f"You need the permission {permission.value} on this collection.")
    return row


def permitted_quarantined_record(
    principal: Principal, record_id: uuid.UUID, permission: Permission = Permission.DATA_READ
) -> QuarantinedRecord:
    """The refused record, for a caller who needs ``permission`` on its collection. Raises ``Problem`` 404 or 403."""
    rows = QuarantinedRecord.objects.select_related("inference_result", "run__collection__action_space")
    record: QuarantinedRecord | None = rows.filter(
        pk=record_id, run__collection__in=visible_collections(principal).values("pk")
    ).first()
    if record is None:
        raise not_found()
    if not rows.filter(pk=record_id).restrict(principal, permission).exists():
        raise forbidden(f"You need the permission {permission.value} on this collection.")
    return record


def collection_runs(collection: Collection) -> QuerySet[PipelineRun]:
    """The collection's runs, newest first."""
    return PipelineRun.objects.filter(collection=collection).select_related("requested_by").order_by("-created_at")


def collection_exports(collection: Collection) -> QuerySet[Export]:
    """The collection's exports, newest first."""
    return Export.objects.filter(collection=collection).select_related("requested_by").order_by("-created_at")


def export_files(export: Export) -> list[dict[str, Any]]:
    """``[{"path", "bytes", "sha256", "url"}]``: paths are below the export's folder, links expire."""
    return [
        {
            "path": file.key.partition(f"export_{export.pk}/")[2],
            "bytes": file.bytes,
            "sha256": file.sha256,
            "url": object_store.url(file.key),
        }
        for file in sorted(export.files.all(), key=lambda file: file.key)
    ]


def collection_statistics(collection: Collection) -> dict[str, Any]:
    """Counts over everything, latency and the hourly course over the last 24 hours."""
    since = timezone.now() - timedelta(hours=24)
    results = collection.results.filter(shadow=False)
    recent = results.filter(created_at__gte=since)
    counts = results.aggregate(results=Count("pk"), robots=Count("robot", distinct=True))
    latency = recent.aggregate(
        recent=Count("pk"),
        p50=Percentile("total_ms", 0.5),
        p95=Percentile("total_ms", 0.95),
        batch_size=Avg("batch_size"),
    )
    per_hour = (
        recent.annotate(hour=TruncHour("created_at"))
        .values("hour")
        .annotate(results=Count("pk"), unsafe=Count("pk", filter=~Q(safety_verdict="pass")))
        .order_by("hour")
    )
    return {
        "collection": collection.slug,
        "results": counts["results"],
        "last_24h": latency["recent"],
        "robots": counts["robots"],
        "episodes": collection.episodes.count(),
        "verdicts": _counted(results, "safety_verdict"),
        "outcomes": _counted(collection.episodes.exclude(outcome=""), "outcome"),
        "models": _models(results),
        "feedback": _counted(collection.feedback.all(), "feedback_type"),
        "latency_ms": {"p50": _rounded(latency["p50"]), "p95": _rounded(latency["p95"])},
        "mean_batch_size": _rounded(latency["batch_size"]),
        "per_hour": [{**row, "hour": row["hour"].isoformat()} for row in per_hour],
    }


def _counted(rows: QuerySet[Model], field: str) -> Mapping[str, int]:
    return dict(rows.order_by(field).values_list(field).annotate(Count("pk")))


def _models(results: QuerySet[Model]) -> dict[str, int]:
    rows = results.order_by("model_name", "model_version").values_list("model_name", "model_version")
    return {f"{name}@{version}": count for name, version, count in rows.annotate(Count("pk"))}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
