"""The index over the text vectors: what it is, how it is asked, and how another takes its place.

The catalogue of the database is the only record of what is in place: an index that an operator chose (``manage.py
vector_index``) is asked as it was built, and no setting can disagree with it.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass

from django.db import connection
from django.db.models import F, Func, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast
from pgvector.django import HalfVectorField, VectorField

from pipeline.embeddings.models import EMBEDDING_DIMENSIONS

NAME, NEXT = "embedding_cosine", "embedding_cosine_next"
HNSW, IVFFLAT = "hnsw", "ivfflat"
# How long a process goes by what it knows of the index; the old one is dropped when all know of the new one.
KNOWN_SECONDS = 30.0
# Cut vectors tell less: more of them are looked at, and the whole ones order them.
MORE_CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """How an index is, or would be, built. ``dimensions`` below the vectors' own are their first ones."""

    method: str = HNSW
    dimensions: int = EMBEDDING_DIMENSIONS
    lists: int = 0
    whole: int = EMBEDDING_DIMENSIONS

    @classmethod
    def for_rows(cls, method: str, dimensions: int, rows: int) -> Shape:
        """With the lists that pgvector recommends: a thousandth of the rows, above a million their square root."""
        if method == HNSW:
            return cls(method, dimensions)
        return cls(method, dimensions, max(10, rows // 1000 if rows <= 1_000_000 else math.isqrt(rows)))

    @property
    def probes(self) -> int:
        """Lists that are looked at: a third of them when they are few, towards twice their square root."""
        return max(1, min(math.ceil(self.lists / 3), 2 * math.isqrt(self.lists)))

    @property
    def is_cut(self) -> bool:
        return self.dimensions < self.whole

    def sql(self, name: str, table: str, *, without_lock: bool = False) -> str:
        column = f"subvector(embedding, 1, {self.dimensions})" if self.is_cut else "embedding"
        options = f"lists = {self.lists}" if self.method == IVFFLAT else "m = 16, ef_construction = 64"
        return (
            f"CREATE INDEX {'CONCURRENTLY ' if without_lock else ''}{name} ON {table} USING {self.method} "
            f"(({column}::halfvec({self.dimensions})) halfvec_cosine_ops) WITH ({options})"
        )

    def column(self) -> Combinable:
        """What the index holds, as the ORM says it: written in any other way, the planner would not know it again."""
        whole: Combinable = F("embedding")
        if self.is_cut:
            whole = Func(
                F("embedding"),
                Value(1),
                Value(self.dimensions),
                function="subvector",
                output_field=VectorField(dimensions=self.dimensions),
            )
        return Cast(whole, HalfVectorField(dimensions=self.dimensions))

    def __str__(self) -> str:
        lists = f", {self.lists} lists, {self.probes} probes" if self.method == IVFFLAT else ""
        return f"{self.method}, {self.dimensions} dimensions{lists}"


_known: tuple[float, Shape] | None = None


def in_place() -> Shape:
    """The shape of the index that is there; a new one counts from the moment that it is complete."""
    global _known
    if _known is None or time.monotonic() - _known[0] > KNOWN_SECONDS:
        _known = (time.monotonic(), _read())
    return _known[1]


def ask_afresh() -> None:
    """Look at the catalogue again at the next question."""
    global _known
    _known = None


def build(shape: Shape, *, memory: str) -> None:
    """Build an index of ``shape`` beside the one in place, while both reading and writing go on."""
    concurrently = not connection.in_atomic_block
    with connection.cursor() as cursor:
        # What an attempt before this one left half done.
        cursor.execute(f"DROP INDEX {'CONCURRENTLY ' if concurrently else ''}IF EXISTS {NEXT}")
        cursor.execute("SELECT set_config('maintenance_work_mem', %s, false)", [memory])
        try:
            cursor.execute(shape.sql(NEXT, "embeddings", without_lock=concurrently))
        finally:
            cursor.execute("RESET maintenance_work_mem")
    ask_afresh()


def rebuild(*, memory: str) -> None:
    """Make the index in place anew, of the same shape, while both reading and writing go on."""
    concurrently = "" if connection.in_atomic_block else "CONCURRENTLY"
    with connection.cursor() as cursor:
        # What an attempt before this one left half done.
        cursor.execute(f"DROP INDEX {concurrently} IF EXISTS {NAME}_ccnew")
        cursor.execute("SELECT set_config('maintenance_work_mem', %s, false)", [memory])
        try:
            cursor.execute(f"REINDEX INDEX {concurrently} {NAME}")
        finally:
            cursor.execute("RESET maintenance_work_mem")


def take_over() -> None:
    """Drop the index that was in place. Call it when every process has known of the new one for a while."""
    concurrently = not connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid", [NEXT])
        if cursor.fetchone() is None:
            return
        cursor.execute(f"DROP INDEX {'CONCURRENTLY ' if concurrently else ''}IF EXISTS {NAME}")
        cursor.execute(f"ALTER INDEX {NEXT} RENAME TO {NAME}")
    ask_afresh()


def _read() -> Shape:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE indrelid = 'embeddings'::regclass AND relname IN (%s, %s) AND indisvalid ORDER BY relname DESC",
            [NAME, NEXT],
        )
        found = cursor.fetchone()
    if found is None:
        return Shape()
    method = re.search(r"USING (\w+)", found[0])
    dimensions = re.search(r"halfvec\((\d+)\)", found[0])
    lists = re.search(r"lists='?(\d+)", found[0])
    return Shape(
        method[1] if method else HNSW,
        int(dimensions[1]) if dimensions else EMBEDDING_DIMENSIONS,
        int(lists[1]) if lists else 0,
    )
