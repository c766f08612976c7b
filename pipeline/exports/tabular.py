"""The formats ``parquet`` and ``csv``: the records as they are, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exports.base import EXPORT_SCHEMA
from pipeline.exports.spreadsheets import CsvWriter
from pipeline.runs.parquet import with_named_images
from pipeline.stages.base import RecordSpec


class ParquetFormat:
    """``data.parquet``, zstd, a row group per table."""

    def __init__(self, folder: Path, spec: RecordSpec, images: Any) -> None:
        self._writer = pq.ParquetWriter(folder / "data.parquet", EXPORT_SCHEMA, compression="zstd", compression_level=3)
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        self._writer.write_table(with_named_images(table))
        self._rows += table.num_rows

    def close(self) -> Mapping[str, Any]:
        self._writer.close()
        return {"rows": self._rows}


class CsvFormat:
    """``data.csv``, safe to open in a spreadsheet."""

    def __init__(self, folder: Path, spec: RecordSpec, images: Any) -> None:
        self._file = (folder / "data.csv").open("wb")
        self._writer = CsvWriter(self._file, EXPORT_SCHEMA.names)
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        self._writer.write(with_named_images(table))
        self._rows += table.num_rows

    def close(self) -> Mapping[str, Any]:
        self._file.close()
        return {"rows": self._rows}
