"""CSV that a person opens in a spreadsheet: streamed, with nothing in a cell that would be taken for a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.http import StreamingHttpResponse

# Enough for a person's question; whole data sets are what exports are for.
ROWS_AT_MOST = 50_000
# What Excel, LibreOffice and Google Sheets begin a formula with (OWASP, "CSV Injection").
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


class _Line:
    """What ``csv`` writes to: gives each line back."""

    def write(self, line: str) -> str:
        return line


def csv_response(titles: Sequence[str], rows: Iterable[Iterable[Any]], *, filename: str) -> StreamingHttpResponse:
    """``rows`` of cells below their ``titles``, as a download."""
    response = StreamingHttpResponse(_lines(titles, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def _lines(titles: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(titles)
    for row in rows:
        yield writer.writerow(harmless(cell) for cell in row)


def harmless(value: Any) -> Any:
    """``value`` as it may stand in a cell: a text that begins like a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def plain(text: str) -> str:
    """What ``harmless`` was given, from a cell that a person hands in again."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
