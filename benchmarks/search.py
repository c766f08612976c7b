"""Search over many vectors: recall against exact search, latency, the index's size and build time.

    python -m benchmarks.search [--vectors 1000000] [--queries 200] [--folder FOLDER]

Vectors are the real model's, of composed instructions, with noise. The index alone, and whole searches of a viewer (a
text that is encoded, vectors, words, fusion, the results' rows), are each measured unfiltered and filtered to a
collection that holds 1% of the rows. Starts a PostgreSQL and a Redis of its own; writes ``var/bench/search.json``.

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
RESULTS = 100_000  # what the rows are about; every 100th belongs to the small collection too
STEPS = 250  # of an episode
TOP = 10
SLUGS = {"all": "large", "1%": "small"}
WARM_UP = 300  # other queries, after which most of the index has been read
COMPARED = 100  # how many queries are also answered exactly, each a scan of every row

EPISODES = """
INSERT INTO episodes (id, collection_id, external_id, instruction, outcome, tags, step_count, started_at, created_at)
SELECT gen_random_uuid(), %(collection)s, 'episode-' || n, 'pick up the red cube', 'success', '{}', %(steps)s,
    now() - interval '30 days' * random(), now()
FROM generate_series(1, %(episodes)s) AS n
"""
INFERENCE_RESULTS = """
WITH kept AS (
    SELECT id, started_at, row_number() OVER () - 1 AS number FROM episodes WHERE collection_id = %(collection)s)
INSERT INTO inference_results (
    id, request_id, collection_id, episode_id, step, instruction, model_name, model_version, shadow, input_state,
    output_actions, images, safety_score, safety_verdict, safety_violations, confidence, cached, queue_ms,
    inference_time_ms, total_ms, batch_size, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), %(collection)s, kept.id, n / %(episodes)s, 'pick up the red cube',
    'synthetic', '1', false, '[0.1,0.2,0.3,0.4,0.5,0.6,0.7]',
    (SELECT jsonb_agg(jsonb_build_array(0.01 * h, 0.0, 0.1, 0, 0, 0, 0.5)) FROM generate_series(0, 7) AS h),
    '{"base": "raw/2026-11-01/collection_bench/x/base.jpg"}', 0.9, 'pass', '[]', 0.5, false, 0.4, 20, 24, 4,
    kept.started_at + interval '50 ms' * (n / %(episodes)s)
FROM generate_series(0, %(results)s - 1) AS n JOIN kept ON kept.number = n %% %(episodes)s
"""


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
        from django.db import connection

        call_command("migrate", verbosity=0)
        built = folder / "built.json"
        if not built.exists():
            built.write_text(json.dumps(_build(count)))
            connection.close()
            # Written out at once: else that would go on for minutes, beside what is measured.
            postgres.stop()
            postgres.start()
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
        for name, share in (("1%", SMALL_SHARE), ("all", 1)):
            results = RESULTS // share
            sizes: dict[str, Any] = {
                "collection": collections[name].pk,
                "results": results,
                "episodes": results // STEPS,
                "steps": STEPS,
            }
            cursor.execute(EPISODES, sizes)
            cursor.execute(INFERENCE_RESULTS, sizes)
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
        cursor.execute("VACUUM ANALYZE embeddings, inference_results, episodes")
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
    """Searches of somebody who may view both collections: the text is encoded, vectors and words are looked at, and
    the rows are read. Then the same once more, when what was found is remembered.
    """
    from django.core.cache import cache

    from accounts.choices import Role
    from accounts.models import User
    from collections_app.models import Collection, Membership
    from pipeline.embeddings import search as searching
    from pipeline.embeddings.filters import SearchFilters

    person, _created = User.objects.get_or_create(username="searcher")
    for collection in Collection.objects.filter(slug__in=SLUGS.values()):
        Membership.objects.get_or_create(collection=collection, user=person, defaults={"role": Role.VIEWER})

    def ask(text: str) -> list[Any]:
        filters = SearchFilters(collection=slug)
        hits = searching.search(principal=person, text=f"{text}, please", filters=filters)
        if not hits:
            raise RuntimeError("A search found nothing.")
        return hits

    cache.clear()  # of what a measurement before this one asked
    searching._query_vector.cache_clear()
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
    # Those of the small collection are numbered from -1 downwards.
    cursor.execute(
        "CREATE TEMP TABLE about AS SELECT id, collection_id, created_at, "
        "CASE WHEN collection_id = %s THEN -1 ELSE 1 END * row_number() OVER (PARTITION BY collection_id ORDER BY id) "
        "- CASE WHEN collection_id = %s THEN 0 ELSE 1 END AS number FROM inference_results",
        [collections["1%"].pk] * 2,
    )
    cursor.execute("ANALYZE base, noise, about")
    cursor.execute(
        "INSERT INTO embeddings (id, collection_id, source_kind, source_id, inference_result_id, safety_verdict, "
        "occurred_at, text, text_sha256, embedding, model_name, model_revision, metadata, created_at) "
        "SELECT gen_random_uuid(), about.collection_id, 'result', gen_random_uuid(), about.id, 'pass', "
        "about.created_at, base.text, '', l2_normalize(base.vector + one.vector + other.vector), %s, %s, '{}', now() "
        "FROM (SELECT CASE WHEN n %% %s = 0 THEN -1 - n / %s %% %s ELSE n %% %s END AS r, "
        "(random() * %s)::int AS b, (random() * %s)::int AS i, (random() * %s)::int AS j "
        "FROM generate_series(1, %s) AS n) AS rows JOIN about ON about.number = r "
        "JOIN base ON base.number = b JOIN noise AS one ON one.number = i JOIN noise AS other ON other.number = j",
        [
            model.name,
            model.revision,
            SMALL_SHARE,
            SMALL_SHARE,
            RESULTS // SMALL_SHARE,
            RESULTS,
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
    from pipeline.embeddings.nearest import nearest
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
