"""What follows a published run: people are asked about what looked odd."""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Sequence

import pyarrow.compute as pc
from django.db.models import F, Func, JSONField, Q, Value

from feedback.choices import TaskReason
from feedback.services import create_tasks
from inference.models import InferenceResult
from pipeline.embeddings import remembered
from pipeline.models import Embedding, ImageEmbedding, PipelineRun
from pipeline.runs import parquet
from pipeline.storage import layout

# More than these, the strongest of a run, nobody would look at.
MOST_ASKED = 1000


def ask_about_anomalies(run: PipelineRun) -> int:
    """Hand the run's strongest anomalies to the feedback queue, as far as the collection's rule wants them.

    All of them are marked for searches.

    Returns how many tasks were made.
    """
    folder = layout.run_folder(run.collection.slug, run.pk)
    found: list[tuple[float, str]] = []
    for shard in run.shards.order_by("number"):
        table = parquet.read(folder + shard.file["path"], ["result_id", "anomaly_score", "anomalous"])
        odd = table.filter(pc.field("anomalous"))
        identifiers = odd.column("result_id").to_pylist()
        _mark(identifiers)
        found += zip(odd.column("anomaly_score").to_pylist(), identifiers, strict=True)
        found = heapq.nlargest(MOST_ASKED, found)
    strengths = {uuid.UUID(identifier): score for score, identifier in found}
    return create_tasks(collection_id=run.collection_id, reason=TaskReason.ANOMALY, strengths=strengths)


def _mark(result_ids: Sequence[str]) -> None:
    """Let searches find what stands for these results: their own embeddings, or their episodes'."""
    if not result_ids:
        return
    episodes = InferenceResult.objects.filter(pk__in=result_ids, episode__isnull=False).values("episode")
    marked = Func(
        F("metadata"),
        Value({"anomalous": True}, JSONField()),
        template="(%(expressions)s)",
        arg_joiner=" || ",
        output_field=JSONField(),
    )
    collections: set[uuid.UUID] = set()
    for model in (Embedding, ImageEmbedding):
        rows = model.objects.filter(Q(inference_result__in=result_ids) | Q(episode__in=episodes))
        unmarked = rows.exclude(metadata__contains={"anomalous": True})
        collections.update(unmarked.values_list("collection", flat=True).distinct().order_by())
        unmarked.update(metadata=marked)
    remembered.forget(collections)
