"""What a format is: a writer of files into a folder, fed with tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from pipeline.runs.parquet import PROCESSED_SCHEMA
from pipeline.stages.base import RecordSpec

# Anomalies are judged against a run's window; an export is not of a run.
EXPORT_SCHEMA = pa.schema([field for field in PROCESSED_SCHEMA if not field.name.startswith("anomal")])


class ExportFormat(Protocol):
    """Writes one data set. Tables come in order, episodes whole; nothing but their content decides the bytes."""

    def __init__(self, folder: Path, spec: RecordSpec, images: Any) -> None: ...

    def add(self, table: pa.Table) -> None:
        """Take in a table of ``EXPORT_SCHEMA``."""

    def close(self) -> Mapping[str, Any]:
        """Finish the files. Returns what the manifest says of the format: counts of what was written and left out."""
        ...
