"""One shard through the stages: read, transform, embed, write, verify."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from django.db import transaction
from django.db.models import F

from core import garbage
from core.personal_data.presidio import detect
from pipeline import records
from pipeline.choices import JobState, ObjectKind
from pipeline.choices import Stage as StageName
from pipeline.embeddings import indexing
from pipeline.models import PipelineRun, QuarantinedRecord, RunShard
from pipeline.pseudonyms import Pseudonyms
from pipeline.runs import parquet, preparation, progress, selection, spreadsheet
from pipeline.runs.summary import Summary
from pipeline.stages.anomalies import DetectAnomalies
from pipeline.stages.anonymise import Anonymise
from pipeline.stages.base import RecordSpec, Rejection, Stage
from pipeline.stages.features import AddFeatures
from pipeline.stages.images import CheckImages
from pipeline.stages.validate import Validate
from pipeline.storage import catalogue, layout, raw


class LostRecordsError(Exception):
    """A written file does not hold the records that were given to it."""


@garbage.held_off()
def process(shard: RunShard) -> None:
    """Work off ``shard``. Safe to do twice, also at the same time: names and bytes are the same.

    Raises whatever a stage raises; the shard then remains unfinished.
    """
    run = shard.run
    unfinished = RunShard.objects.unfinished().filter(pk=shard.pk)  # somebody may have done it meanwhile
    unfinished.update(state=JobState.RUNNING, attempts=F("attempts") + 1)
    counts: dict[str, dict[str, Any]] = {}
    quarantined: list[QuarantinedRecord] = []
    table = records.read(selection.of_shard(shard), as_of=run.created_at)
    wanted = selection.wanted(run)
    for stage in stages(run):
        started = time.perf_counter()
        before = table.num_rows
        output = stage(table)
        table = output.table
        refused = [found for found in output.rejections if wanted is None or found.result_id in wanted]
        quarantined += _quarantined(run, stage.name, refused)
        counts[stage.name] = _count(before, table.num_rows, started, output.counts)
    if wanted is not None:
        table = table.filter(pc.field("id").isin(wanted))
    if run.options.get("embed", True):
        started = time.perf_counter()
        made = indexing.index_results(table.column("id").to_pylist())
        counts[StageName.EMBED] = _count(table.num_rows, table.num_rows, started, {"embedded": made})
    file, summary = _write(shard, parquet.in_schema(table), counts)
    with transaction.atomic():
        QuarantinedRecord.objects.bulk_create(quarantined, ignore_conflicts=True)
        if unfinished.update(state=JobState.SUCCEEDED, stage_counts=counts, file=file, summary=summary, error=""):
            progress.add(run.pk, counts)


def stages(run: PipelineRun) -> list[Stage]:
    """The run's graph of pure stages, in order."""
    spec = RecordSpec.of(run.collection, as_of=run.created_at)
    reference, load = preparation.known_of_all(run)
    checks: list[Stage] = [CheckImages(spec, raw.fetch)] if run.options.get("check_images", True) else []
    return [
        Validate(spec),
        *checks,
        DetectAnomalies(spec, reference),
        Anonymise(Pseudonyms.of(run.collection_id), detect),
        AddFeatures(spec, load),
    ]


def _write(
    shard: RunShard, table: pa.Table, counts: dict[str, dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the shard's file and read it back; then its rows for the run's CSV. Returns the shard's file and summary.

    Raises ``LostRecordsError`` or ``CorruptObjectError``.
    """
    run = shard.run
    owners: dict[str, Any] = {"kind": ObjectKind.PROCESSED, "collection": run.collection, "run": run}
    started = time.perf_counter()
    folder = layout.run_folder(run.collection.slug, run.pk)
    name = layout.batch_name(shard.number)
    entry = catalogue.store(folder + name, parquet.encode(table), **owners)
    rows = catalogue.store(folder + layout.csv_part_name(shard.number), spreadsheet.rows_of(table), **owners)
    summary = Summary(RecordSpec.of(run.collection, as_of=run.created_at))
    summary.add(table)
    counts[StageName.WRITE] = _count(table.num_rows, table.num_rows, started, {"bytes": entry.bytes})
    started = time.perf_counter()
    catalogue.verify(entry)
    stored = parquet.row_count(folder + name)
    if stored != table.num_rows:
        raise LostRecordsError(f"{folder}{name} holds {stored} records of {table.num_rows}.")
    counts[StageName.VERIFY] = _count(table.num_rows, stored, started, {"files": 1})
    file = {"path": name, "records": table.num_rows, "bytes": entry.bytes, "sha256": entry.sha256}
    return file, {**summary.as_json(), "csv_sha256": rows.sha256}


def _count(before: int, after: int, started: float, counted: Any) -> dict[str, Any]:
    return {
        "records_in": before,
        "records_out": after,
        "seconds": round(time.perf_counter() - started, 4),
        "counts": dict(counted),
    }


def _quarantined(run: PipelineRun, stage: StageName, rejections: Sequence[Rejection]) -> list[QuarantinedRecord]:
    return [
        QuarantinedRecord(run=run, inference_result_id=r.result_id, stage=stage, reason=r.reason, detail=r.detail)
        for r in rejections
    ]
