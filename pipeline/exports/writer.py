"""Writing an export: choose, clean, format, store, verify; the manifest last, whose presence says "complete"."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit
from core.personal_data.presidio import detect
from feedback.webhooks import services as webhooks
from feedback.webhooks.choices import WebhookEvent
from pipeline import origins, queue_load, records
from pipeline.choices import ExportFormat as FormatName
from pipeline.choices import JobState, ObjectKind
from pipeline.exports.base import EXPORT_SCHEMA, ExportFormat
from pipeline.exports.card import dataset_card
from pipeline.exports.lerobot import LeRobotFormat
from pipeline.exports.preferences import PreferencesFormat
from pipeline.exports.query import ExportQuery, window
from pipeline.exports.tabular import CsvFormat, ParquetFormat
from pipeline.images.published import PublishedImages
from pipeline.models import Export
from pipeline.pseudonyms import Pseudonyms
from pipeline.runs.cuts import cuts
from pipeline.stages.anonymise import Anonymise, Texts
from pipeline.stages.base import RecordSpec
from pipeline.stages.features import AddFeatures
from pipeline.stages.validate import Validate
from pipeline.storage import catalogue, layout

logger = structlog.get_logger(__name__)

FORMATS: Mapping[str, type[ExportFormat]] = {
    FormatName.PARQUET: ParquetFormat,
    FormatName.CSV: CsvFormat,
    FormatName.LEROBOT: LeRobotFormat,
    FormatName.PREFERENCES: PreferencesFormat,
}
CARD_NAME = "README.md"
MANIFEST_NAME = "manifest.json"
Progress = Callable[[float], None]


def write(export: Export, progress: Progress = lambda _share: None) -> Export:
    """Write ``export`` from its beginning, telling ``progress`` what is done, 0..1. A failure marks it as failed and is
    raised.
    """
    try:
        return _write(export, partial(_beat, export, progress))
    except Exception as error:
        logger.exception("export.failed", export=str(export.pk))
        export.state = JobState.FAILED
        export.error = f"{type(error).__name__}: {error}"[:2000]
        export.finished_at = timezone.now()
        export.save(update_fields=["state", "error", "finished_at"])
        raise


def _write(export: Export, beat: Progress) -> Export:
    beat(0.0)
    query = ExportQuery.parse(export.query)
    spec = RecordSpec.of(export.collection, as_of=export.created_at)
    images = PublishedImages(export.collection, redact=True)
    summary = _Summary()
    with tempfile.TemporaryDirectory(prefix="export.") as temporary:
        folder = Path(temporary)
        target = FORMATS[export.format](folder, spec, images)
        _feed(export, query, spec, target, summary, beat)
        details = target.close()
        manifest = _manifest(export, query, spec, summary, {**details, "images": images.report()})
        (folder / CARD_NAME).write_text(dataset_card(manifest), encoding="utf-8")
        files = _store(export, folder, beat)
    manifest["files"] = files
    data = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    key = layout.export_folder(export.collection.slug, export.pk) + MANIFEST_NAME
    catalogue.store(key, data, kind=ObjectKind.EXPORT, collection=export.collection, export=export)
    export.manifest = orjson.loads(data)
    export.records = summary.records
    export.state = JobState.SUCCEEDED
    export.progress = 1.0
    export.error = ""
    export.finished_at = timezone.now()
    with transaction.atomic():
        export.save()
        audit.record("export.written", export, changes={"records": [None, export.records]})
        webhooks.announce(
            collection_id=export.collection_id,
            event=WebhookEvent.EXPORT_FINISHED,
            data={"export_id": str(export.pk), "format": export.format, "records": export.records},
        )
    return export


def _feed(
    export: Export, query: ExportQuery, spec: RecordSpec, target: ExportFormat, summary: _Summary, beat: Progress
) -> None:
    """Read the chosen records a part at a time, through the stages, into ``target``."""
    results = query.results(export.collection, as_of=export.created_at)
    found = window(results)
    if found is None:
        return
    load = queue_load.of_collection(export.collection_id, *found, as_of=export.created_at)
    stages = (Validate(spec), Anonymise(Pseudonyms.of(export.collection_id), detect), AddFeatures(spec, load))
    parts = list(cuts(results, *found))
    total = sum(part.records for part in parts)
    for part in parts:
        table = records.read(part.of(results), as_of=export.created_at)
        for stage in stages:
            output = stage(table)
            table = output.table
            summary.count(stage.name, output.counts, len(output.rejections))
        table = table.rename_columns({"id": "result_id"}).select(EXPORT_SCHEMA.names).cast(EXPORT_SCHEMA)
        target.add(table)
        summary.add(table, part.records)
        beat(0.9 * summary.read / total)


def _store(export: Export, folder: Path, beat: Progress) -> list[dict[str, Any]]:
    """Store every file below ``folder`` and read it back."""
    prefix = layout.export_folder(export.collection.slug, export.pk)
    entries = catalogue.store_folder(
        prefix,
        folder,
        kind=ObjectKind.EXPORT,
        progress=lambda share: beat(0.9 + 0.1 * share),
        collection=export.collection,
        export=export,
    )
    return [{"path": entry.key.removeprefix(prefix), "bytes": entry.bytes, "sha256": entry.sha256} for entry in entries]


def _manifest(
    export: Export, query: ExportQuery, spec: RecordSpec, summary: _Summary, details: Mapping[str, Any]
) -> dict[str, Any]:
    """Nothing here depends on when or as which export the data set was written."""
    return {
        "collection": export.collection.slug,
        "format": export.format,
        "query": Texts(detect).clean_value(query.as_json()),  # a filter by a name may name a person
        "code_version": settings.VERSION,
        "counts": {"read": summary.read, "exported": summary.records, "invalid": summary.invalid, **details},
        "policy_versions": dict(sorted(summary.versions.items())),
        "annotators": dict(sorted(summary.annotators.items())),
        "personal_data_replaced": dict(sorted(summary.kinds.items())),
        "action_space": {
            "names": spec.action_names,
            "units": spec.action_units,
            "state_names": spec.state_names,
            "state_units": spec.state_units,
            "rate_hz": spec.rate_hz,
            "horizon": spec.horizon,
        },
    }


class _Summary:
    """What the manifest counts."""

    def __init__(self) -> None:
        self.read = 0
        self.records = 0
        self.invalid = 0
        self.kinds: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.annotators: Counter[str] = Counter()

    def count(self, stage: str, counts: Mapping[str, int], rejected: int) -> None:
        self.invalid += rejected
        if stage == Anonymise.name:
            self.kinds.update(counts)

    def add(self, table: Any, read: int) -> None:
        self.read += read
        self.records += table.num_rows
        self.versions.update(origins.policy_versions(table))
        self.annotators.update(origins.annotators(table))


def _beat(export: Export, told: Progress, progress: float) -> None:
    told(progress)
    export.state = JobState.RUNNING
    export.progress = progress
    export.heartbeat_at = timezone.now()
    export.save(update_fields=["state", "progress", "heartbeat_at"])
