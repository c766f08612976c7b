"""Publishing: the run's one CSV, its quarantine, and last of all the manifest, whose presence says "complete"."""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings

from pipeline.choices import ObjectKind
from pipeline.exports.spreadsheets import CsvWriter
from pipeline.models import PipelineRun, StoredObject
from pipeline.runs import parquet
from pipeline.runs.planning import REFERENCE_NAME
from pipeline.runs.statistics import RunningStatistics
from pipeline.stages.base import Chunks, RecordSpec, vectors
from pipeline.storage import catalogue, layout

MANIFEST_NAME = "manifest.json"


def publish(run: PipelineRun) -> StoredObject:
    """Write what belongs to the run as a whole, from its shards' files. The same shards give the same bytes."""
    folder = layout.run_folder(run.collection.slug, run.pk)
    owners: dict[str, Any] = {"kind": ObjectKind.PROCESSED, "collection": run.collection, "run": run}
    shards = list(run.shards.order_by("number"))
    summary = _Summary(RecordSpec.of(run.collection, as_of=run.created_at))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "validated_data.csv")
        with path.open("wb") as target:
            writer = CsvWriter(target, parquet.PROCESSED_SCHEMA.names)
            for shard in shards:
                for table in parquet.batches(folder + shard.file["path"]):
                    writer.write(table)
                    summary.add(table)
        spreadsheet = catalogue.store_file(folder + "validated_data.csv", path, **owners)
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
        "action_space": {"names": summary.spec.action_names, "units": summary.spec.action_units},
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
    return catalogue.store(folder + MANIFEST_NAME, data, **owners)


class _Summary:
    """What the manifest says of all records together."""

    def __init__(self, spec: RecordSpec) -> None:
        self.spec = spec
        self._states = RunningStatistics(spec.state_names)
        self._actions = RunningStatistics(spec.action_names)
        self._versions: Counter[str] = Counter()
        self._annotators: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        if not table.num_rows:
            return
        self._states.add(vectors(table.column("state"), len(self.spec.state_names)))
        self._actions.add(Chunks.of(table.column("actions"), len(self.spec.action_names)).rows)
        names = zip(table.column("policy_name").to_pylist(), table.column("policy_version").to_pylist(), strict=True)
        self._versions.update(f"{name}@{version}" for name, version in names)
        self._annotators.update(who for who in table.column("corrected_by").to_pylist() if who)

    def report(self) -> dict[str, Any]:
        return {
            "policy_versions": dict(sorted(self._versions.items())),
            "annotators": dict(sorted(self._annotators.items())),
            "statistics": {"state": self._states.report(), "action": self._actions.report()},
        }


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
