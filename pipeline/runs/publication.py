"""Publishing: the run's one CSV, its quarantine, and last of all the manifest, whose presence says "complete"."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from django.db.models import Count

from pipeline import records
from pipeline.choices import ObjectKind
from pipeline.models import PipelineRun, StoredObject
from pipeline.runs import parquet, spreadsheet
from pipeline.runs.preparation import LOAD_NAME, REFERENCE_NAME
from pipeline.stages.base import RecordSpec
from pipeline.storage import catalogue, layout

MANIFEST_NAME = "manifest.json"


def publish(run: PipelineRun) -> StoredObject:
    """Write what belongs to the run as a whole, from its shards' files. The same shards give the same bytes."""
    folder = layout.run_folder(run.collection.slug, run.pk)
    owners: dict[str, Any] = {"kind": ObjectKind.PROCESSED, "collection": run.collection, "run": run}
    shards = list(run.shards.order_by("number"))
    spec = RecordSpec.of(run.collection, as_of=run.created_at)
    csv, summary = spreadsheet.publish(shards, folder, spec, **owners)
    quarantine = catalogue.store(folder + "quarantine.parquet", _quarantine(run), **owners)
    catalogue.verify(quarantine)
    reasons = run.quarantined.values_list("reason")
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
        "quarantine_reasons": dict(reasons.annotate(records=Count("pk")).order_by("reason")),
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
                    (spreadsheet.NAME, csv),
                    ("quarantine.parquet", quarantine),
                    *_prepared(folder),
                )
            ),
        ],
    }
    data = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    published = catalogue.store(folder + MANIFEST_NAME, data, **owners)
    catalogue.discard([folder + layout.csv_part_name(shard.number) for shard in shards])
    return published


def _sum(shards: list[Any], stage: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for shard in shards:
        total.update(shard.stage_counts.get(stage, {}).get("counts", {}))
    return dict(sorted(total.items()))


def _prepared(folder: str) -> Iterator[tuple[str, StoredObject]]:
    """What was made for all shards; a run without records has none."""
    for name in (LOAD_NAME, REFERENCE_NAME):
        for entry in StoredObject.objects.filter(key=folder + name):
            yield name, entry


def _quarantine(run: PipelineRun) -> bytes:
    names = ("inference_result_id", "stage", "reason", "detail")
    rows = run.quarantined.order_by(*names[:3]).values_list(*names)
    table = records.copied(rows, dict.fromkeys(("result_id", *names[1:]), pa.string()))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
