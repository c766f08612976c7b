"""CSV that a spreadsheet may open: nothing in a cell is taken for a formula."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TextIO

import orjson
import pyarrow as pa

# What Excel, LibreOffice and Google Sheets begin a formula with (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class CsvWriter:
    """Writes Arrow tables as RFC 4180 CSV: lists and maps as JSON, times as RFC 3339, null as nothing."""

    def __init__(self, target: TextIO, columns: Sequence[str]) -> None:
        self._columns = columns
        self._writer = csv.writer(target, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
        self._writer.writerow(columns)

    def write(self, table: pa.Table) -> None:
        values = [table.column(name).to_pylist(maps_as_pydicts="strict") for name in self._columns]
        self._writer.writerows([cell(value) for value in row] for row in zip(*values, strict=True))


def cell(value: Any) -> Any:
    """``value`` as it stands in a cell; a text that begins like a formula gets an apostrophe in front."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
