"""How the vector index is, hourly, and what it needs: vacuum after many deletions, new lists after much growth, and to
be built anew where it finds too little or has become loose."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import structlog
from django.db import connection, transaction
from django.db.models import F, Min
from django.utils import timezone
from pgvector.django import CosineDistance

from pipeline.embeddings import vector_index
from pipeline.embeddings.nearest import nearest
from pipeline.embeddings.served import served_by_model
from pipeline.embeddings.vector_index import IVFFLAT, NAME
from pipeline.models import Embedding, VectorIndexHealth

logger = structlog.get_logger(__name__)

TOP = 10
# Each is also answered exactly, by a scan of every row.
QUERIES = 10
MOST_ROWS_SCANNED = 3_000_000
KEPT = timedelta(days=90)
# Dead entries make a walk through the graph longer, and are only taken out by vacuum.
DEAD_SHARE = 0.1
# Lists were made for so many rows; with twice as many, each is twice as long.
GROWTH = 2.0
# An index that finds less is built anew. A few queries tell little: it takes two measurements, one after the other.
WANTED_RECALL = 0.95
# What vacuum took out leaves room that new rows fill only in part. Looked at from this size on.
LOOSE = 1.5
LOOSE_FROM_BYTES = 64_000_000
# One that finds too little by its nature would be built anew each hour.
BUILT_AT_MOST_EVERY = timedelta(days=1)
MEMORY = "512MB"
REBUILT = "built anew"


def measure() -> VectorIndexHealth:
    """Look at the index, and keep what was seen."""
    shape = vector_index.in_place()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n_live_tup, n_dead_tup, greatest(last_vacuum, last_autovacuum), "
            "greatest(last_analyze, last_autoanalyze), coalesce(pg_relation_size(to_regclass(%s)), 0) "
            "FROM pg_stat_user_tables WHERE relid = 'embeddings'::regclass",
            [NAME],
        )
        rows, dead, vacuumed_at, analysed_at, size = cursor.fetchone()
    health = VectorIndexHealth.objects.create(
        method=shape.method,
        dimensions=shape.dimensions,
        lists=shape.lists,
        rows=rows,
        dead_rows=dead,
        bytes=size,
        recall=_recall() if rows <= MOST_ROWS_SCANNED else None,
        vacuumed_at=vacuumed_at,
        analysed_at=analysed_at,
    )
    VectorIndexHealth.objects.filter(measured_at__lt=timezone.now() - KEPT).delete()
    return health


def maintain(health: VectorIndexHealth) -> str:
    """Do what ``health`` asks for. Returns what was done, or ""."""
    done = ""
    if health.rows and health.dead_rows > DEAD_SHARE * health.rows:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE) embeddings")
        done = "vacuumed"
    wanted = vector_index.Shape.for_rows(health.method, health.dimensions, health.rows)
    if health.method == IVFFLAT and wanted.lists > GROWTH * health.lists:
        # The index that is there serves on; the next hour's visit takes it away.
        vector_index.build(wanted, memory=MEMORY)
        done = "new lists"
    else:
        vector_index.take_over()
        if _must_be_rebuilt(health):
            vector_index.rebuild(memory=MEMORY)
            done = REBUILT
    if done:
        health.maintenance = done
        health.save(update_fields=["maintenance"])
        logger.info("vector_index.maintained", done=done, rows=health.rows)
    return done


def _must_be_rebuilt(health: VectorIndexHealth) -> bool:
    """Whether it finds too little, or takes much more room for a row than it took at its best."""
    before = VectorIndexHealth.objects.filter(
        method=health.method, dimensions=health.dimensions, lists=health.lists, measured_at__lt=health.measured_at
    )
    if before.filter(maintenance=REBUILT, measured_at__gt=health.measured_at - BUILT_AT_MOST_EVERY).exists():
        return False
    last = before.order_by("-measured_at").first()
    if last is not None and all(seen.recall is not None and seen.recall < WANTED_RECALL for seen in (last, health)):
        return True
    if health.bytes < LOOSE_FROM_BYTES or not health.rows:
        return False
    large = before.filter(bytes__gte=LOOSE_FROM_BYTES, rows__gt=0)
    tightest: float | None = large.aggregate(least=Min(F("bytes") * 1.0 / F("rows")))["least"]
    return tightest is not None and health.bytes / health.rows > LOOSE * tightest


def _recall() -> float | None:
    """The share of the ten nearest that the index finds, for some of the rows; None where there are too few."""
    parts = [part for _model, part in served_by_model(Embedding.objects.all())]
    if not parts:
        return None
    rows = parts[0]
    asked = list(rows.order_by("?").values_list("embedding", flat=True)[:QUERIES])
    shares = []
    for vector in (np.asarray(value, dtype=np.float32) for value in asked):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_indexscan = off")
            exact = list(
                rows.annotate(distance=CosineDistance("embedding", vector))
                .order_by("distance")
                .values_list("distance", flat=True)[:TOP]
            )
        if len(exact) < TOP:
            return None
        found = list(nearest(rows, vector, most=2.0).values())[:TOP]
        # Equal texts are equally far: which of them are found is all the same.
        shares.append(sum(distance <= exact[-1] + 1e-6 for distance in found) / TOP)
    return float(np.mean(shares)) if shares else None
