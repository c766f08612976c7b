"""Search over many vectors: recall against exact search, latency, the index's size and build time.

    python -m benchmarks.search [--vectors 1000000] [--queries 200] [--folder FOLDER]

Vectors are the real model's, of composed instructions, with noise. The index alone, and whole searches (a text that is
encoded, vectors, words, fusion, rows), are each measured unfiltered and filtered to a collection that holds 1% of the
rows. Starts a PostgreSQL and a Redis of its own; writes ``var/bench/search.json``.

With ``--folder`` the database is kept there: the first call fills it and builds the index, which takes long and keeps
the machine busy; each further call only asks the queries, so that these can be measured on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
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
SLUGS = {"all": "large", "1%": "small"}
WARM_UP = 300  # other queries, after which most of the index has been read
COMPARED = 50  # how many queries are also answered exactly, each a scan of every row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where the database is kept for another measurement")
    options = parser.parse_args()
    root = Path("var/bench").resolve()
    root.mkdir(parents=True, exist_ok=True)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.folder.resolve(), options.vectors, options.queries)
        return
    with tempfile.TemporaryDirectory(dir=root, prefix="search.") as folder:
        measure(Path(folder), options.vectors, options.queries)


def measure(folder: Path, count: int, queries: int) -> None:
    """Fill a database in ``folder``, unless it is there already, ask the queries, and save the figures."""
    from vla_project.launcher import EmbeddedPostgres, EmbeddedRedis
    from vla_project.launcher.ports import free_port

    memory = {
        "shared_buffers": "5GB",
        "maintenance_work_mem": "3GB",
        "synchronous_commit": "off",
        "max_wal_size": "8GB",
    }
    folder.chmod(0o755)  # as root the server runs as somebody else
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
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        built = folder / "built.json"
        if not built.exists():
            built.write_text(json.dumps(_build(count)))
        save("search", {**json.loads(built.read_text()), **_ask(queries)})
    finally:
        redis.stop()
        postgres.stop()


def _build(count: int) -> dict[str, Any]:
    from django.db import connection

    from benchmarks.pipeline_data import create_collection
    from pipeline.embeddings.encoders import current_model, indexing_encoder
    from pipeline.embeddings.served import open_models

    collections = {name: create_collection(slug) for name, slug in SLUGS.items()}
    open_models([collection.pk for collection in collections.values()])
    texts = _texts()
    base = indexing_encoder(current_model()).encode(texts)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX embedding_cosine, embedding_words, embedding_metadata, embedding_text")
        _fill(cursor, base, texts, count, collections)
        say(f"{count} rows are in the table")
        cursor.execute("SET max_parallel_maintenance_workers = 2")
        started = time.perf_counter()
        cursor.execute(
            "CREATE INDEX embedding_cosine ON embeddings USING hnsw ((embedding::halfvec(384)) halfvec_cosine_ops) "
            "WITH (m = 16, ef_construction = 64)"
        )
        build = time.perf_counter() - started
        cursor.execute("CREATE INDEX embedding_words ON embeddings USING gin (search_vector)")
        cursor.execute("VACUUM ANALYZE embeddings")
        cursor.execute("SELECT pg_relation_size('embedding_cosine')")
        size = cursor.fetchone()[0]
    say(f"the index takes {size / 1e6:.0f} MB and was built in {build:.0f} s")
    return {"vectors": count, "index_bytes": size, "build_seconds": build}


def _ask(queries: int) -> dict[str, Any]:
    from collections_app.models import Collection
    from pipeline.embeddings.encoders import current_model, query_encoder

    random = np.random.default_rng(2)
    texts = [str(text) for text in random.choice(_texts(), queries + WARM_UP, replace=False)]
    asked = _near(query_encoder(current_model()).encode(texts), random)
    small = Collection.objects.get(slug=SLUGS["1%"])
    rows = [_row("all", None, asked), _row("1%", small.pk, asked)]
    whole = [_whole("all", None, texts), _whole("1%", small.slug, texts)]
    say(f"{'filter':>6} {'recall@10':>10} {'p50 ms':>8} {'p95 ms':>8}   whole search: {'p50 ms':>8} {'p95 ms':>8}")
    for row, search in zip(rows, whole, strict=True):
        say(
            f"{row['filter']:>6} {row['recall']:>10.3f} {row['p50_ms']:>8.1f} {row['p95_ms']:>8.1f}"
            f"                 {search['p50_ms']:>8.1f} {search['p95_ms']:>8.1f}"
        )
    return {"queries": queries, "rows": rows, "whole": whole, **_encode()}


def _encode() -> dict[str, float]:
    from pipeline.embeddings.encoders import current_model, indexing_encoder

    texts, encoder = _texts(), indexing_encoder(current_model())
    encoder.encode(texts[:32])
    started, busy = time.perf_counter(), time.process_time()
    encoder.encode(texts)
    rate, a_core = len(texts) / (time.perf_counter() - started), len(texts) / (time.process_time() - busy)
    say(f"encoded {rate:.0f} texts/s, {a_core:.0f} a second of one core")
    return {"texts_per_second": rate, "texts_per_core_second": a_core}


def _texts() -> list[str]:
    return [f"{v} the {c} {t} {p}" for v, c, t, p in product(VERBS, COLOURS, THINGS, PLACES)]


def _whole(name: str, slug: str | None, texts: list[str]) -> dict[str, Any]:
    """Searches as a person's: the text is encoded, vectors and words are looked at, and the rows are read.

    Then the same once more, when what was found is remembered.
    """
    from django.core.cache import cache

    from accounts.models import User
    from pipeline.embeddings.search import SearchFilters, search

    person, _created = User.objects.get_or_create(username="searcher", is_superuser=True)

    def ask(text: str) -> list[Any]:
        return search(principal=person, text=f"{text}, please", filters=SearchFilters(collection=slug))

    cache.clear()  # of what a measurement before this one asked
    for text in texts[-WARM_UP:]:
        ask(text)
    _, times = _timed(ask, texts[:-WARM_UP])
    _, again = _timed(ask, texts[:-WARM_UP])
    return {
        "filter": name,
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
        "again_p95_ms": float(np.percentile(again, 95)),
    }


def _fill(cursor: Any, base: Vectors, texts: list[str], count: int, collections: dict[str, Any]) -> None:
    """``count`` rows, each a text's vector with noise; every hundredth in the small collection.

    The server adds two of a pool of noise vectors to each, of which there are eight million pairs: a client that sent
    a million vectors as text would need an hour of one core.
    """
    from pipeline.embeddings.encoders import current_model

    model = current_model()
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
            model.name,
            model.revision,
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
    others, asked = asked[-WARM_UP:], asked[:-WARM_UP]
    exact = [_exact(rows, vector) for vector in asked[:COMPARED]]
    for vector in others:
        nearest(rows, vector)
    found, times = _timed(lambda vector: list(nearest(rows, vector))[:TOP], asked)
    recall = np.mean([len(set(f) & set(e)) / TOP for f, e in zip(found[:COMPARED], exact, strict=True)])
    return {
        "filter": name,
        "recall": float(recall),
        "p50_ms": float(np.percentile(times, 50)),
        "p95_ms": float(np.percentile(times, 95)),
    }


def _timed(ask: Callable[[Any], list[Any]], asked: Sequence[Any] | Vectors) -> tuple[list[list[Any]], list[float]]:
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
