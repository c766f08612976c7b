"""What each shard must know of all of its run's records: made once, by the workers that come first, and kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import object_store
from pipeline import queue_load, records
from pipeline.choices import ObjectKind
from pipeline.locks import held_by_one
from pipeline.models import PipelineRun, StoredObject
from pipeline.runs import selection
from pipeline.stages.anomalies import AnomalyReference, feature_matrix, feature_names
from pipeline.stages.base import RecordSpec
from pipeline.stages.features import QueueLoad
from pipeline.stages.validate import Validate
from pipeline.storage import catalogue, layout

REFERENCE_RECORDS = 10_000
REFERENCE_NAME = "reference.parquet"
LOAD_NAME = "queue_load.parquet"


def known_of_all(run: PipelineRun) -> tuple[AnomalyReference, QueueLoad]:
    """What ``run``'s records are judged against, and the load of the queue in its minutes; made where they are not."""
    folder = layout.run_folder(run.collection.slug, run.pk)
    if _entered(folder + name for name in _MAKERS) < len(_MAKERS):
        _make(run, folder)
    return _read(folder)


def _entered(keys: Iterable[str]) -> int:
    """How many of ``keys`` are in the catalogue; an object that is not was left by a worker that was killed."""
    return StoredObject.objects.filter(key__in=tuple(keys)).count()


@lru_cache(maxsize=4)
def _read(folder: str) -> tuple[AnomalyReference, QueueLoad]:
    sample, load = (pq.read_table(io.BytesIO(object_store.get(folder + name))) for name in (REFERENCE_NAME, LOAD_NAME))
    return (
        AnomalyReference(np.column_stack([column.to_numpy() for column in sample.columns])),
        QueueLoad(load.column("minute").to_numpy(), load.column("results").to_numpy()),
    )


def _make(run: PipelineRun, folder: str) -> None:
    """Make what is missing, first what nobody else is at, so that two workers do it in the time of one part."""
    for wait in (False, True):
        for name, make in _MAKERS.items():
            with held_by_one(folder + name, wait=wait) as mine:
                if mine and not _entered([folder + name]):
                    sink = io.BytesIO()
                    pq.write_table(make(run), sink, compression="zstd")
                    owner = {"collection": run.collection, "run": run}
                    catalogue.store(folder + name, sink.getvalue(), kind=ObjectKind.PROCESSED, **owner)


def _reference_of(run: PipelineRun) -> pa.Table:
    spec = RecordSpec.of(run.collection, as_of=run.created_at)
    sample = selection.sample_of_run(run, size=REFERENCE_RECORDS, total=run.records_in)
    table = Validate(spec)(records.read(sample, as_of=run.created_at)).table
    return pa.table(dict(zip(feature_names(spec), feature_matrix(table, spec).T, strict=True)))


def _load_of(run: PipelineRun) -> pa.Table:
    load = queue_load.of_collection(run.collection_id, run.window_start, run.window_end, as_of=run.created_at)
    return pa.table({"minute": load.minutes, "results": load.results})


# The longest first.
_MAKERS: Mapping[str, Callable[[PipelineRun], pa.Table]] = {REFERENCE_NAME: _reference_of, LOAD_NAME: _load_of}
