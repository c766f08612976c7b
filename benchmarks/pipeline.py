"""A run over synthetic records: rate and peak memory, with one worker and with two.

    python -m benchmarks.pipeline [--records 1000000] [--workers 1,2] [--rounds 3]

Starts a PostgreSQL and a Redis of its own under ``var/bench/``. Prints a table and writes ``var/bench/pipeline.json``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import save, say

RECORDS_PER_EPISODE = 200
STAGES = ("validate", "anomalies", "anonymise", "features", "write", "verify")

# A smooth trajectory and a chunk of eight steps for each record, made where they are stored. Of every thousand, one has
# a state that is too short, and one a chunk that jumps.
RECORDS = """
INSERT INTO inference_results (
    id, request_id, collection_id, robot_id, episode_id, step, instruction, policy_version_id, model_name,
    model_version, shadow, input_state, output_actions, proposed_actions, images, safety_score, safety_verdict,
    safety_violations, confidence, cached, queue_ms, inference_time_ms, total_ms, batch_size, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), e.collection_id, e.robot_id, e.id, s.step, 'pick up the red cube', NULL,
    'synthetic', '1', false,
    CASE WHEN n %% 1000 = 7 THEN '[0.5]' ELSE
        jsonb_build_array(sin(n/50.0), cos(n/50.0), sin(n/30.0), cos(n/70.0), sin(n/90.0), cos(n/20.0), 0.5) END,
    (SELECT jsonb_agg(jsonb_build_array(
        sin((n+h)/40.0)/9, sin((n+h)/50.0)/9, cos((n+h)/60.0)/9, cos((n+h)/90.0)/30, 0, 0,
        CASE WHEN n %% 1000 = 77 THEN h ELSE 0.5 END)) FROM generate_series(0, 7) h),
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
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    workers = [int(n) for n in options.workers.split(",")]
    if 1 not in workers:
        parser.error("--workers needs 1: the others are compared with it")
    root = Path("var/bench").resolve()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="pipeline.") as folder:
        Path(folder).chmod(0o755)  # as root the servers run as somebody else
        results = _measure(Path(folder), options.records, workers, options.rounds)
    save("pipeline", results)


def _measure(folder: Path, records: int, workers: list[int], rounds: int) -> dict[str, Any]:
    """Each number of workers in turn, round after round, over the same records: what disturbs hits them all."""
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
        rows: list[dict[str, Any]] = []
        for number in range(1, rounds + 1):
            for count in workers:
                rows.append({"round": number, **measure(context, count)})
                shutil.rmtree(folder / "var" / "storage")  # or what is kept of them in memory slows the runs after it
    finally:
        redis.stop()
        postgres.stop()
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
        # A database that has been up for a while: neither run meets work that PostgreSQL put off.
        cursor.execute("VACUUM (ANALYZE)")
    say(f"{records} records made in {time.perf_counter() - started:.1f} s")


def measure(context: Any, workers: int) -> dict[str, Any]:
    """A run whose shards ``workers`` processes share.

    The clock starts when they are up and have loaded their libraries, as Celery's workers are when a run comes.
    """
    ready = context.Barrier(workers + 2)
    with (
        context.Pool(1, be_ready, (ready,)) as coordinator,
        context.Pool(workers, be_ready, (ready,)) as pool,
    ):
        ready.wait()
        started = time.perf_counter()
        run_id, shard_ids = coordinator.apply(plan)
        planned = time.perf_counter()
        before, after = zip(*pool.imap_unordered(work, shard_ids), strict=True)
        worked = time.perf_counter()
        summary = coordinator.apply(finish, (run_id,))
        seconds = time.perf_counter() - started
    row = {
        "workers": workers,
        "records": summary["records"],
        "quarantined": summary["quarantined"],
        "seconds": round(seconds, 1),
        "planning": round(planned - started, 1),
        "shards": round(worked - planned, 1),
        "publishing": round(started + seconds - worked, 1),
        "rate": round(summary["records"] / seconds),
        "idle_mb": round(min(before)),
        "peak_mb": round(max([*after, summary["peak_mb"]])),
        "stages": summary["stages"],
    }
    say(f"{row}")
    return row


def be_ready(ready: Any) -> None:
    """Load what the stages need, then wait for the others."""
    _django()
    from core.personal_data.presidio import detect
    from pipeline import services
    from pipeline.runs import runner
    from pipeline.stages.anomalies import AnomalyReference

    detect("Somebody wrote to anna@example.org")
    _ = services, runner, AnomalyReference(np.zeros((2, 2))).forest
    ready.wait()


def plan() -> tuple[str, list[int]]:
    from collections_app.models import Collection
    from pipeline import services
    from pipeline.runs import planning

    run = services.start_run(
        collection=Collection.objects.get(slug="bench"), options={"embed": False}, enqueue=False, trigger="benchmark"
    )
    planning.plan(run)
    return str(run.pk), list(run.shards.order_by("number").values_list("pk", flat=True))


def work(shard_id: int) -> tuple[float, float]:
    """One shard. Returns the peak resident memory in MB, before and after."""
    from pipeline.models import RunShard
    from pipeline.runs import shards

    before = _peak_mb()
    shards.process(RunShard.objects.select_related("run__collection__action_space").get(pk=shard_id))
    return before, _peak_mb()


def finish(run_id: str) -> dict[str, Any]:
    from pipeline.models import PipelineRun
    from pipeline.runs import runner

    run = runner.finish(PipelineRun.objects.get(pk=run_id))
    return {
        "records": run.records_out,
        "quarantined": run.records_quarantined,
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
