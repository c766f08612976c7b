"""Planning: a run's window is cut into shards, and what each shard must know of all records is drawn, once."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.db import transaction
from django.utils import timezone

from core import object_store
from pipeline import queue_load, records
from pipeline.choices import JobState, ObjectKind, Stage
from pipeline.models import PipelineRun, RunShard, StageRun
from pipeline.runs import selection
from pipeline.runs.cuts import cuts
from pipeline.stages.anomalies import AnomalyReference, feature_matrix, feature_names
from pipeline.stages.base import RecordSpec
from pipeline.stages.features import QueueLoad
from pipeline.stages.validate import Validate
from pipeline.storage import catalogue, layout

REFERENCE_RECORDS = 20_000
REFERENCE_NAME = "reference.parquet"
LOAD_NAME = "queue_load.parquet"


def plan(run: PipelineRun) -> None:
    """Cut ``run`` into shards, draw its reference and its queue's load. Does nothing where that was done before."""
    if run.shards.exists():
        return
    parts = list(cuts(selection.of_run(run), run.window_start, run.window_end))
    total = sum(part.records for part in parts)
    _store_reference(run, total)
    _store_load(run)
    with transaction.atomic():
        StageRun.objects.bulk_create([StageRun(run=run, stage=stage) for stage in Stage], ignore_conflicts=True)
        RunShard.objects.bulk_create(
            [
                RunShard(
                    run=run,
                    number=number,
                    first_episode=part.first_episode,
                    last_episode=part.last_episode,
                    created_from=part.created_from,
                    created_to=part.created_to,
                    records=part.records,
                )
                for number, part in enumerate(parts, start=1)
            ],
            ignore_conflicts=True,
        )
        run.state = JobState.RUNNING
        run.records_in = total
        run.started_at = run.started_at or timezone.now()
        run.heartbeat_at = timezone.now()
        run.save(update_fields=["state", "records_in", "started_at", "heartbeat_at"])


@lru_cache(maxsize=4)
def reference(folder: str) -> AnomalyReference | None:
    """The reference of the run whose objects lie in ``folder``, or None where it had too few records for one."""
    try:
        data = object_store.get(folder + REFERENCE_NAME)
    except FileNotFoundError:
        return None
    table = pq.read_table(io.BytesIO(data))
    return AnomalyReference(np.column_stack([column.to_numpy() for column in table.columns]))


@lru_cache(maxsize=4)
def load(folder: str) -> QueueLoad:
    """The queue's load in the minutes of the run whose objects lie in ``folder``."""
    table = pq.read_table(io.BytesIO(object_store.get(folder + LOAD_NAME)))
    return QueueLoad(table.column("minute").to_numpy(), table.column("results").to_numpy())


def _store_load(run: PipelineRun) -> None:
    load = queue_load.of_collection(run.collection_id, run.window_start, run.window_end, as_of=run.created_at)
    _store(run, LOAD_NAME, pa.table({"minute": load.minutes, "results": load.results}))


def _store_reference(run: PipelineRun, total: int) -> None:
    spec = RecordSpec.of(run.collection, as_of=run.created_at)
    sample = selection.sample_of_run(run, size=REFERENCE_RECORDS, total=total)
    table = Validate(spec)(records.read(sample, as_of=run.created_at)).table
    if not table.num_rows:
        return
    columns = feature_matrix(table, spec).T
    _store(run, REFERENCE_NAME, pa.table(dict(zip(feature_names(spec), columns, strict=True))))


def _store(run: PipelineRun, name: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    key = layout.run_folder(run.collection.slug, run.pk) + name
    catalogue.store(key, sink.getvalue(), kind=ObjectKind.PROCESSED, collection=run.collection, run=run)
