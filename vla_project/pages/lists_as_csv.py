"""A collection's lists as CSV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from collections_app import spreadsheets
from collections_app.models import Collection, Episode, Membership, Robot
from core.csv_lines import ROWS_AT_MOST, csv_response
from core.signals import list_downloaded
from inference.models import InferenceResult

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


def newest_as_csv(
    collection: Collection,
    rows: QuerySet[Any],
    columns: dict[str, Callable[[Any], Any]],
    *,
    query: dict[str, str],
    filename: str,
) -> StreamingHttpResponse:
    """The newest ``ROWS_AT_MOST`` of ``rows`` as a download; ``query`` is what narrowed them, for the audit trail."""
    list_downloaded.send(rows.model, query=query, collection_id=collection.pk)
    newest = rows.order_by("-created_at", "-pk")[:ROWS_AT_MOST].iterator(chunk_size=1000)
    return csv_response(list(columns), ([read(row) for read in columns.values()] for row in newest), filename=filename)


def spreadsheet_response(collection: Collection, kind: str) -> StreamingHttpResponse:
    """The members or robots of ``collection``, in the form in which they can be brought in again."""
    list_downloaded.send({"members": Membership, "robots": Robot}[kind], query={}, collection_id=collection.pk)
    columns = spreadsheets.KINDS[kind].columns
    return csv_response(columns, spreadsheets.rows_of(collection, kind), filename=f"{collection.slug}-{kind}.csv")
