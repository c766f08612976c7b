"""What follows a published run: people are asked about what looked odd."""

from __future__ import annotations

import heapq
import uuid

import pyarrow.compute as pc

from feedback.choices import TaskReason
from feedback.services import create_tasks
from pipeline.models import PipelineRun
from pipeline.runs import parquet
from pipeline.storage import layout

# More than these, the strongest of a run, nobody would look at.
MOST_ASKED = 1000


def ask_about_anomalies(run: PipelineRun) -> int:
    """Hand the run's strongest anomalies to the feedback queue, as far as the collection's rule wants them.

    Returns how many tasks were made.
    """
    folder = layout.run_folder(run.collection.slug, run.pk)
    found: list[tuple[float, str]] = []
    for shard in run.shards.order_by("number"):
        for table in parquet.batches(folder + shard.file["path"]):
            odd = table.filter(pc.field("anomalous"))
            found += zip(odd.column("anomaly_score").to_pylist(), odd.column("result_id").to_pylist(), strict=True)
            found = heapq.nlargest(MOST_ASKED, found)
    strengths = {uuid.UUID(identifier): score for score, identifier in found}
    return create_tasks(collection_id=run.collection_id, reason=TaskReason.ANOMALY, strengths=strengths)
