"""What an index would be like, measured before anybody builds it: on a sample of the vectors, against exact search."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection, transaction

from pipeline.embeddings.nearest import EF_SEARCH
from pipeline.embeddings.served import served_by_model
from pipeline.embeddings.vector_index import IVFFLAT, MORE_CANDIDATES, Shape
from pipeline.embeddings.words import CANDIDATES
from pipeline.models import Embedding

TOP = 10
# Rounding: equal texts are equally far.
SAME = 1e-6
_TABLE = "vector_trial"


@dataclass(frozen=True, slots=True)
class Outcome:
    shape: Shape
    rows: int
    recall: float
    p95_ms: float
    bytes_per_row: float
    build_seconds: float


def compare(methods: list[tuple[str, int]], *, sample: int, queries: int) -> list[Outcome]:
    """Build each ``(method, dimensions)`` over the same ``sample`` of served vectors and ask it the same ``queries``.

    Of equal texts each counts as right: recall asks how far the rows are that were found, not which they are.
    """
    parts = [part for _model, part in served_by_model(Embedding.objects.all())]
    if not parts:
        return []
    chosen, parameters = parts[0].order_by("?").values("id", "embedding")[:sample].query.sql_with_params()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE {_TABLE} ON COMMIT DROP AS {chosen}", parameters)
        cursor.execute(f"SELECT count(*) FROM {_TABLE}")  # nosec B608
        rows: int = cursor.fetchone()[0]
        if rows < TOP:
            return []
        cursor.execute(f"SELECT embedding::text FROM {_TABLE} LIMIT %s", [queries])  # nosec B608
        asked = [row[0] for row in cursor.fetchall()]
        distances = f"SELECT embedding <=> %s::vector AS d FROM {_TABLE}"  # nosec B608
        exact = [_asked(cursor, distances, [text]) for text in asked]
        return [_measured(cursor, Shape.for_rows(method, size, rows), rows, asked, exact) for method, size in methods]


def _measured(cursor: Any, shape: Shape, rows: int, asked: list[str], exact: list[list[float]]) -> Outcome:
    run = cursor.execute
    started = time.perf_counter()
    run(shape.sql("vector_trial_index", _TABLE))
    took = time.perf_counter() - started
    run("SELECT pg_relation_size('vector_trial_index')")
    size = cursor.fetchone()[0]
    run("SET LOCAL enable_seqscan = off")
    run(f"SET LOCAL hnsw.ef_search = {EF_SEARCH}")
    if shape.method == IVFFLAT:
        run(f"SET LOCAL ivfflat.probes = {shape.probes}")
    column = f"subvector(embedding, 1, {shape.dimensions})" if shape.is_cut else "embedding"
    candidates = CANDIDATES * (MORE_CANDIDATES if shape.is_cut else 1)
    recalls, times = [], []
    for text, wanted in zip(asked, exact, strict=True):
        cut = str([float(value) for value in text.strip("[]").split(",")][: shape.dimensions])
        started = time.perf_counter()
        found = _asked(
            cursor,
            f"SELECT d FROM (SELECT embedding <=> %s::vector AS d FROM {_TABLE} "  # nosec B608
            f"ORDER BY {column}::halfvec({shape.dimensions}) <=> %s::halfvec({shape.dimensions}) LIMIT %s) AS near",
            [text, cut, candidates],
        )
        times.append((time.perf_counter() - started) * 1000)
        recalls.append(sum(distance <= wanted[-1] + SAME for distance in found) / len(wanted))
    run("SET LOCAL enable_seqscan = on")
    run("DROP INDEX vector_trial_index")
    return Outcome(shape, rows, float(np.mean(recalls)), float(np.percentile(times, 95)), size / rows, took)


def _asked(cursor: Any, sql: str, parameters: list[Any]) -> list[float]:
    cursor.execute(f"{sql} ORDER BY d LIMIT {TOP}", parameters)
    return [row[0] for row in cursor.fetchall()]
