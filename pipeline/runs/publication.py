"""Publishing: the run's one CSV, its quarantine, and last of all the manifest, whose presence says "complete"."""

from __future__ import annotations

import hashlib
import io
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings

from core import object_store
from pipeline.choices import ObjectKind
from pipeline.exports.spreadsheets import header, write_rows
from pipeline.models import PipelineRun, RunShard, StoredObject
from pipeline.runs import parquet
from pipeline.runs.planning import REFERENCE_NAME
from pipeline.runs.summary import Summary
from pipeline.stages.base import RecordSpec
from pipeline.storage import catalogue, layout

MANIFEST_NAME = "manifest.json"

_Told = tuple[Mapping[str, Any], bytes]


def publish(run: PipelineRun) -> StoredObject:
    """Write what belongs to the run as a whole, from its shards' files. The same shards give the same bytes."""
    folder = layout.run_folder(run.collection.slug, run.pk)
    owners: dict[str, Any] = {"kind": ObjectKind.PROCESSED, "collection": run.collection, "run": run}
    shards = list(run.shards.order_by("number"))
    spec = RecordSpec.of(run.collection, as_of=run.created_at)
    summary = Summary(spec)  # complete once the CSV is written
    spreadsheet = catalogue.store_blocks(folder + "validated_data.csv", _csv(shards, folder, summary), **owners)
    catalogue.verify(spreadsheet)
    quarantine = catalogue.store(folder + "quarantine.parquet", _quarantine(run), **owners)
    catalogue.verify(quarantine)
    manifest = {
        "run": str(run.pk),
        "collection": run.collection.slug,
        "window": [run.window_start.isoformat(), run.window_end.isoformat()],
        "as_of": run.created_at.isoformat(),
        "options": run.options,
        "code_version": settings.VERSION,
        "records": {
            "read": sum(shard.stage_counts["validate"]["records_in"] for shard in shards),
            "written": sum(shard.file["records"] for shard in shards),
            "quarantined": run.quarantined.values("inference_result").distinct().count(),
        },
        "quarantine_reasons": dict(Counter(run.quarantined.order_by("reason").values_list("reason", flat=True))),
        "personal_data_replaced": _sum(shards, "anonymise"),
        "quality_remarks": _sum(shards, "validate") | _sum(shards, "images"),
        "anomalous": _sum(shards, "anomalies").get("anomalous", 0),
        **summary.report(),
        "action_space": {"names": spec.action_names, "units": spec.action_units},
        "schema": {field.name: str(field.type) for field in parquet.PROCESSED_SCHEMA},
        "files": [
            *(shard.file for shard in shards),
            *(
                {"path": name, "bytes": entry.bytes, "sha256": entry.sha256}
                for name, entry in (
                    ("validated_data.csv", spreadsheet),
                    ("quarantine.parquet", quarantine),
                    *_reference(folder),
                )
            ),
        ],
    }
    data = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    published = catalogue.store(folder + MANIFEST_NAME, data, **owners)
    catalogue.discard([folder + layout.csv_part_name(shard.number) for shard in shards])
    return published


def csv_rows(table: pa.Table) -> bytes:
    """A shard's part of the run's CSV."""
    sink = io.BytesIO()
    write_rows(sink, table)
    return sink.getvalue()


def _csv(shards: Sequence[RunShard], folder: str, summary: Summary) -> Iterator[bytes]:
    """The run's one CSV, a shard at a time; what each shard tells goes into ``summary``."""
    yield header(parquet.PROCESSED_SCHEMA.names)
    for known, rows in _one_ahead(lambda shard: _told_by(shard, folder, summary.spec), shards):
        summary.merge(known)
        yield rows


def _one_ahead(make: Callable[[RunShard], _Told], shards: Sequence[RunShard]) -> Iterator[_Told]:
    """``make`` of each shard in order, the next while the caller works on this one. ``make`` asks no database."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        coming: deque[Future[_Told]] = deque()
        for shard in shards:
            coming.append(ahead.submit(make, shard))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _told_by(shard: RunShard, folder: str, spec: RecordSpec) -> _Told:
    """A shard's summary and its rows of CSV: as its worker left them, or else made again from its file.

    The rows are gone where a publishing was cut off at its very end.
    """
    try:
        rows = object_store.get(folder + layout.csv_part_name(shard.number))
    except FileNotFoundError:
        rows = b""
    if hashlib.sha256(rows).hexdigest() == shard.summary.get("csv_sha256"):
        return shard.summary, rows
    table = parquet.read(folder + shard.file["path"])
    summary = Summary(spec)
    summary.add(table)
    return summary.as_json(), csv_rows(table)


def _sum(shards: list[Any], stage: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.stage_counts.get(stage, {}).get("counts", {}))
    return dict(sorted(total.items()))


def _reference(folder: str) -> Iterator[tuple[str, StoredObject]]:
    for entry in StoredObject.objects.filter(key=folder + REFERENCE_NAME):
        yield REFERENCE_NAME, entry


def _quarantine(run: PipelineRun) -> bytes:
    rows = run.quarantined.order_by("inference_result_id", "stage", "reason").values_list(
        "inference_result_id", "stage", "reason", "detail"
    )
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    columns[0] = [str(identifier) for identifier in columns[0]]
    schema = pa.schema([(name, pa.string()) for name in ("result_id", "stage", "reason", "detail")])
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue()
