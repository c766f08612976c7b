"""The rows whose vectors are nearest to one: over the index where there are many, one by one where few."""

from __future__ import annotations

import json
import uuid
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import connection, transaction
from django.db.models import QuerySet
from pgvector.django import CosineDistance

from pipeline.embeddings import vector_index
from pipeline.embeddings.vector_index import IVFFLAT, MORE_CANDIDATES, Shape
from pipeline.embeddings.words import CANDIDATES

# pgvector's search breadth, the greatest that it takes. At 600 recall@10 of a million vectors was 0.964 over some
# indexes that were built, and 0.944 over another.
EF_SEARCH = 1000
# Of a million rows, an index scan that must find 50 among so many takes as long as to compare each of them.
COMPARED_SINGLY = 15_000
# Beyond this cosine distance two short texts have nothing to do with one another.
MAX_DISTANCE = 0.7


def nearest(
    rows: QuerySet[Any],
    vector: npt.NDArray[np.float32],
    *,
    most: float = MAX_DISTANCE,
    shape: Shape | None = None,
    count: int = CANDIDATES,
) -> dict[uuid.UUID, float]:
    """The ids of the ``count`` rows nearest to ``vector``, ``float32 [dimensions]``, at a distance of ``most`` at
    most, and how far they are, nearest first.

    Few rows are compared one by one. For many the index, of ``shape``, which holds half-precision vectors, perhaps only
    their first dimensions, chooses the candidates; their full-precision distances order them.
    """
    if _rows_expected(rows) <= COMPARED_SINGLY:
        ranked = rows.annotate(distance=CosineDistance("embedding", vector)).order_by("distance")
        found = list(ranked.values_list("pk", "distance")[:count])
        return {row: distance for row, distance in found if distance <= most}
    shape = shape or vector_index.in_place()
    looked_at = count * (MORE_CANDIDATES if shape.is_cut else 1)
    ranked = rows.annotate(
        indexed=CosineDistance(shape.column(), vector[: shape.dimensions]),
        distance=CosineDistance("embedding", vector),
    ).order_by("indexed")
    with transaction.atomic(), connection.cursor() as cursor:
        # The scan goes on until enough rows pass the filters (pgvector 0.8, "iterative index scans").
        breadth = ("ivfflat.probes", shape.probes) if shape.method == IVFFLAT else ("hnsw.ef_search", EF_SEARCH)
        cursor.execute(
            "SELECT set_config(%s, 'relaxed_order', true), set_config(%s, %s, true)",
            [f"{shape.method}.iterative_scan", breadth[0], str(breadth[1])],
        )
        found = list(ranked.values_list("pk", "distance")[:looked_at])
    near = {row: distance for row, distance in sorted(found, key=lambda f: f[1]) if distance <= most}
    return dict(islice(near.items(), count))


def _rows_expected(rows: QuerySet[Any]) -> float:
    """How many there are, as the database's planner estimates."""
    plan = rows.order_by().values("pk").explain(format="json")
    return float(json.loads(plan)[0]["Plan"]["Plan Rows"]) if plan else 0.0  # no plan where no row can match
