"""Search over many vectors: recall against exact search, latency, the index's size and build time.

    python -m benchmarks.search [--vectors 1000000] [--queries 200]

Vectors are the real model's, of composed instructions, with noise. Each count is measured unfiltered and filtered to a
collection that holds 1% of the rows. Starts a PostgreSQL and a Redis of its own under ``var/bench/``; writes
``var/bench/search.json``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.results import save, say

Vectors = npt.NDArray[np.float32]

VERBS = ("pick up", "push", "open", "close", "drop", "hand over", "wipe", "pour", "stack", "turn")
COLOURS = ("red", "blue", "green", "yellow", "white", "black")
THINGS = ("cube", "cup", "drawer", "bottle", "plate", "lid", "sponge", "box", "spoon", "door", "towel", "valve")
PLACES = ("on the table", "in the sink", "beside the robot")
NOISE = 0.02
NOISES = 4000
SMALL_SHARE = 100  # every 100th row belongs to the small collection
TOP = 10
COMPARED = 50  # how many queries are also answered exactly, each a scan of every row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    root = Path("var/bench").resolve()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="search.") as folder:
        Path(folder).chmod(0o755)  # as root the server runs as somebody else
        results = measure(Path(folder), options.vectors, options.queries)
    save("search", results)


def measure(folder: Path, count: int, queries: int) -> dict[str, Any]:
    from vla_project.launcher import EmbeddedPostgres, EmbeddedRedis
    from vla_project.launcher.ports import free_port

    memory = {
        "shared_buffers": "5GB",
        "maintenance_work_mem": "3GB",
        "synchronous_commit": "off",
        "max_wal_size": "8GB",
    }
    postgres = EmbeddedPostgres(folder / "postgres", port=free_port(), settings=memory)
    redis = EmbeddedRedis(folder / "redis", port=free_port())
    try:
        postgres.start()
        redis.start()
        os.environ.update(
            DATABASE_URL=postgres.url,
            REDIS_URL=redis.url,
            VAR_DIR=str(folder / "var"),
            DJANGO_SETTINGS_MODULE="vla_project.settings.test",
        )
        import django

        django.setup()
        return _measure(count, queries)
    finally:
        redis.stop()
        postgres.stop()


def _measure(count: int, queries: int) -> dict[str, Any]:
    from django.core.management import call_command
    from django.db import connection

    from benchmarks.pipeline_data import create_collection
    from pipeline.embeddings.encoders import indexing_encoder

    call_command("migrate", verbosity=0)
    collections = {"all": create_collection("large"), "1%": create_collection("small")}
    texts = [f"{v} the {c} {t} {p}" for v, c, t, p in product(VERBS, COLOURS, THINGS, PLACES)]
    encoder = indexing_encoder()
    encoder.encode(texts[:32])
    started, busy = time.perf_counter(), time.process_time()
    base = encoder.encode(texts)
    encoding = len(texts) / (time.perf_counter() - started)
    a_core = len(texts) / (time.process_time() - busy)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX embedding_cosine, embedding_words, embedding_metadata, embedding_text")
        _fill(cursor, base, texts, count, collections)
        say(f"{count} rows are in the table")
        started = time.perf_counter()
        cursor.execute("SET max_parallel_maintenance_workers = 2")
        cursor.execute(
            "CREATE INDEX embedding_cosine ON embeddings USING hnsw ((embedding::halfvec(384)) halfvec_cosine_ops) "
            "WITH (m = 16, ef_construction = 64)"
        )
        build = time.perf_counter() - started
        cursor.execute("ANALYZE embeddings")
        cursor.execute("SELECT pg_relation_size('embedding_cosine')")
        size = cursor.fetchone()[0]
    random = np.random.default_rng(2)
    asked = _near(base[random.integers(0, len(base), queries)], random)
    rows = [_row(name, collection.pk if name != "all" else None, asked) for name, collection in collections.items()]
    say(f"\n{count} vectors; index {size / 1e6:.0f} MB, built in {build:.0f} s")
    say(f"encoded {encoding:.0f} texts/s, {a_core:.0f} a second of one core")
    say(f"{'filter':>6} {'recall@10':>10} {'p50 ms':>8} {'p95 ms':>8}")
    for row in rows:
        say(f"{row['filter']:>6} {row['recall']:>10.3f} {row['p50_ms']:>8.1f} {row['p95_ms']:>8.1f}")
    return {
        "vectors": count,
        "index_bytes": size,
        "build_seconds": build,
        "texts_per_second": encoding,
        "texts_per_core_second": a_core,
        "rows": rows,
    }


def _fill(cursor: Any, base: Vectors, texts: list[str], count: int, collections: dict[str, Any]) -> None:
    """``count`` rows, each a text's vector with noise; every hundredth in the small collection.

    The server adds two of a pool of noise vectors to each, of which there are eight million pairs: a client that sent
    a million vectors as text would need an hour of one core.
    """
    from pipeline.embeddings.encoders import MODEL_NAME, model_revision

    random = np.random.default_rng(1)
    noise = random.normal(0.0, NOISE / np.sqrt(2), (NOISES, base.shape[1]))
    cursor.execute("CREATE TEMP TABLE base (number int PRIMARY KEY, text text, vector vector(384))")
    cursor.execute("CREATE TEMP TABLE noise (number int PRIMARY KEY, vector vector(384))")
    with cursor.copy("COPY base FROM STDIN") as copy:
        for number, (text, vector) in enumerate(zip(texts, base.tolist(), strict=True)):
            copy.write_row((number, text, str(vector)))
    with cursor.copy("COPY noise FROM STDIN") as copy:
        for number, vector in enumerate(noise.tolist()):
            copy.write_row((number, str(vector)))
    cursor.execute("ANALYZE base, noise")
    cursor.execute(
        "INSERT INTO embeddings (id, collection_id, source_kind, source_id, safety_verdict, occurred_at, text, "
        "text_sha256, embedding, model_name, model_revision, metadata, created_at) "
        "SELECT gen_random_uuid(), CASE WHEN n %% %s = 0 THEN %s ELSE %s END, 'result', gen_random_uuid(), 'pass', "
        "now(), base.text, '', l2_normalize(base.vector + one.vector + other.vector), %s, %s, '{}', now() "
        "FROM (SELECT n, (random() * %s)::int AS b, (random() * %s)::int AS i, (random() * %s)::int AS j "
        "FROM generate_series(1, %s) AS n) AS rows "
        "JOIN base ON base.number = b JOIN noise AS one ON one.number = i JOIN noise AS other ON other.number = j",
        [
            SMALL_SHARE,
            collections["1%"].pk,
            collections["all"].pk,
            MODEL_NAME,
            model_revision(),
            len(base) - 1,
            NOISES - 1,
            NOISES - 1,
            count,
        ],
    )


def _near(vectors: Vectors, random: np.random.Generator) -> Vectors:
    """``vectors`` with noise, of length 1 again."""
    noisy = vectors + random.normal(0.0, NOISE, vectors.shape)
    return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), dtype=np.float32)


def _row(name: str, collection_id: Any, asked: Vectors) -> dict[str, Any]:
    from pipeline.embeddings.search import nearest
    from pipeline.models import Embedding

    rows = Embedding.objects.filter(collection=collection_id) if collection_id else Embedding.objects.all()
    for vector in asked[:10]:
        nearest(rows, vector)
    found, times = _timed(lambda vector: nearest(rows, vector)[:TOP], asked)
    exact = [_exact(rows, vector) for vector in asked[:COMPARED]]
    recall = np.mean([len(set(f) & set(e)) / TOP for f, e in zip(found[:COMPARED], exact, strict=True)])
    return {
        "filter": name,
        "recall": float(recall),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
    }


def _timed(ask: Callable[[Vectors], list[Any]], asked: Vectors) -> tuple[list[list[Any]], list[float]]:
    found, times = [], []
    for vector in asked:
        started = time.perf_counter()
        found.append(ask(vector))
        times.append((time.perf_counter() - started) * 1000)
    return found, times


def _exact(rows: Any, vector: Vectors) -> list[Any]:
    from django.db import connection, transaction
    from pgvector.django import CosineDistance

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_indexscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = on")
        ranked = rows.annotate(distance=CosineDistance("embedding", vector)).order_by("distance")
        return list(ranked.values_list("pk", flat=True)[:TOP])


if __name__ == "__main__":
    main()
