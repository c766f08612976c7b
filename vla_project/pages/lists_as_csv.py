"""A collection's lists as CSV, streamed, with nothing in a cell that a spreadsheet would take for a formula."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from collections_app.models import Episode
from inference.models import InferenceResult

# Enough for a person's question; whole data sets are what exports are for.
ROWS_AT_MOST = 50_000
# What Excel, LibreOffice and Google Sheets begin a formula with (OWASP, "CSV Injection").
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")

RESULT_COLUMNS: dict[str, Callable[[InferenceResult], Any]] = {
    "request_id": lambda result: result.request_id,
    "created_at": lambda result: result.created_at.isoformat(),
    "robot": lambda result: result.robot.name if result.robot else "",
    "episode": lambda result: result.episode.external_id if result.episode else "",
    "step": lambda result: result.step,
    "instruction": lambda result: result.instruction,
    "model": lambda result: f"{result.model_name}@{result.model_version}",
    "safety_verdict": lambda result: result.safety_verdict,
    "safety_score": lambda result: result.safety_score,
    "total_ms": lambda result: result.total_ms,
}
EPISODE_COLUMNS: dict[str, Callable[[Episode], Any]] = {
    "id": lambda episode: episode.pk,
    "external_id": lambda episode: episode.external_id,
    "robot": lambda episode: episode.robot.name if episode.robot else "",
    "instruction": lambda episode: episode.instruction,
    "outcome": lambda episode: episode.outcome,
    "steps": lambda episode: episode.step_count,
    "tags": lambda episode: ", ".join(episode.tags),
    "started_at": lambda episode: episode.started_at.isoformat(),
    "ended_at": lambda episode: episode.ended_at.isoformat() if episode.ended_at else "",
}


class _Line:
    """What ``csv`` writes to: gives each line back."""

    def write(self, line: str) -> str:
        return line


def csv_response(
    rows: QuerySet[Any], columns: dict[str, Callable[[Any], Any]], *, filename: str
) -> StreamingHttpResponse:
    """The newest ``ROWS_AT_MOST`` of ``rows`` as a download."""
    newest = rows.order_by("-created_at", "-pk")[:ROWS_AT_MOST]
    lines = _lines(newest.iterator(chunk_size=1000), columns)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def _lines(rows: Iterable[Any], columns: dict[str, Callable[[Any], Any]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(columns)
    for row in rows:
        yield writer.writerow(harmless(read(row)) for read in columns.values())


def harmless(value: Any) -> Any:
    """``value`` as it may stand in a cell: a text that begins like a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
