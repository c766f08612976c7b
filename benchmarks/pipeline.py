"""A run over synthetic records: rate and peak memory, with one worker and with two.

    python -m benchmarks.pipeline [--records 1000000] [--workers 1,2]

Starts a PostgreSQL and a Redis of its own under ``var/bench/``. Prints a table and writes ``var/bench/pipeline.json``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.results import save, say

RECORDS_PER_EPISODE = 200
STAGES = ("validate", "anomalies", "anonymise", "features", "write", "verify")

# A smooth trajectory and a chunk of eight steps for each of 1,000,000 records, made where they are stored.
RECORDS = """
INSERT INTO inference_results (
    id, request_id, collection_id, robot_id, episode_id, step, instruction, policy_version_id, model_name,
    model_version, shadow, input_state, output_actions, proposed_actions, images, safety_score, safety_verdict,
    safety_violations, confidence, cached, queue_ms, inference_time_ms, total_ms, batch_size, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), e.collection_id, e.robot_id, e.id, s.step, 'pick up the red cube', NULL,
    'synthetic', '1', false,
    jsonb_build_array(sin(n/50.0), cos(n/50.0), sin(n/30.0), cos(n/70.0), sin(n/90.0), cos(n/20.0), 0.5),
    (SELECT jsonb_agg(jsonb_build_array(0.01*h, sin(n/50.0)/9, 0.1, 0, 0, 0, 0.5)) FROM generate_series(0, 7) h),
    NULL, '{}', 1.0, 'pass', '[]', NULL, false, 0.4, 20 + random(), 24 + random(), 4,
    e.started_at + make_interval(secs => s.step * 0.25)
FROM (SELECT *, row_number() OVER (ORDER BY id) AS number FROM episodes) e,
    generate_series(0, %(steps)s - 1) AS s(step),
    LATERAL (SELECT e.number * 1000 + s.step AS n) numbered
"""
EPISODES = """
INSERT INTO episodes (
    id, collection_id, robot_id, external_id, instruction, outcome, tags, step_count, started_at, created_at)
SELECT gen_random_uuid(), %(collection)s, %(robot)s, 'episode ' || i, 'pick up the red cube', '', '{}', %(steps)s,
    now() - interval '20 days' + make_interval(secs => i * 60), now()
FROM generate_series(1, %(episodes)s) AS i
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--workers", default="1,2")
    options = parser.parse_args()
    root = Path("var/bench").resolve()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="pipeline.") as folder:
        Path(folder).chmod(0o755)  # as root the servers run as somebody else
        results = _measure(Path(folder), options.records, [int(n) for n in options.workers.split(",")])
    save("pipeline", results)


def _measure(folder: Path, records: int, workers: list[int]) -> dict[str, Any]:
    from vla_project.launcher import EmbeddedPostgres, EmbeddedRedis
    from vla_project.launcher.ports import free_port

    postgres = EmbeddedPostgres(folder / "postgres", port=free_port(), settings={"synchronous_commit": "off"})
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
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            pool.apply(prepare, (records,))
        rows = [measure(context, count) for count in workers]
    finally:
        redis.stop()
        postgres.stop()
    say(f"\n{'workers':>7} {'records':>9} {'seconds':>8} {'records/s':>10} {'peak MB':>8}")
    for row in rows:
        say(f"{row['workers']:>7} {row['records']:>9} {row['seconds']:>8} {row['rate']:>10} {row['peak_mb']:>8}")
    return {"rows": rows}


def prepare(records: int) -> None:
    """Migrate, and fill one collection with ``records``."""
    _django()
    from django.core.management import call_command
    from django.db import connection

    from benchmarks.pipeline_data import create_collection

    call_command("migrate", verbosity=0)
    collection = create_collection("bench")
    robot = collection.robots.create(name="arm-01")
    values: dict[str, Any] = {
        "collection": collection.pk,
        "robot": robot.pk,
        "steps": RECORDS_PER_EPISODE,
        "episodes": records // RECORDS_PER_EPISODE,
    }
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(EPISODES, values)
        cursor.execute(RECORDS, values)
        cursor.execute("ANALYZE")
    say(f"{records} records made in {time.perf_counter() - started:.1f} s")


def measure(context: Any, workers: int) -> dict[str, Any]:
    """A run whose shards ``workers`` processes share."""
    with context.Pool(1) as pool:
        run_id, planning = pool.apply(plan)
    started = time.perf_counter()
    with context.Pool(workers) as pool:
        peaks = pool.starmap(work, [(run_id, number, workers) for number in range(workers)], chunksize=1)
    working = time.perf_counter() - started
    with context.Pool(1) as pool:
        summary = pool.apply(finish, (run_id,))
    seconds = planning + working + summary["publishing"]
    say(f"{workers} workers: planned in {planning} s, worked {working:.1f} s, {summary}")
    return {
        "workers": workers,
        "records": summary["records"],
        "seconds": round(seconds, 1),
        "shards_seconds": round(working, 1),
        "rate": round(summary["records"] / seconds),
        "peak_mb": round(max([*peaks, summary["peak_mb"]])),
        "stages": summary["stages"],
    }


def plan() -> tuple[str, float]:
    _django()
    from collections_app.models import Collection
    from pipeline import services
    from pipeline.runs import planning

    run = services.start_run(
        collection=Collection.objects.get(slug="bench"), options={"embed": False}, enqueue=False, trigger="benchmark"
    )
    started = time.perf_counter()
    planning.plan(run)
    return str(run.pk), round(time.perf_counter() - started, 1)


def work(run_id: str, number: int, workers: int) -> float:
    """Every ``workers``-th shard. Returns the peak resident memory in MB."""
    _django()
    from pipeline.models import RunShard
    from pipeline.runs import shards

    mine = RunShard.objects.filter(run=uuid.UUID(run_id)).order_by("number")
    for shard in mine.select_related("run__collection__action_space"):
        if shard.number % workers == number:
            shards.process(shard)
    return _peak_mb()


def finish(run_id: str) -> dict[str, Any]:
    _django()
    from pipeline.models import PipelineRun
    from pipeline.runs import runner

    started = time.perf_counter()
    run = runner.finish(PipelineRun.objects.get(pk=run_id))
    return {
        "records": run.records_out,
        "publishing": round(time.perf_counter() - started, 1),
        "peak_mb": _peak_mb(),
        "stages": {stage.stage: round(stage.seconds, 1) for stage in run.stages.filter(stage__in=STAGES)},
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _django() -> None:
    import django

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    django.setup()


if __name__ == "__main__":
    main()
