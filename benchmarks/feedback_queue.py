"""The annotators' queue with a million open tasks: the next task, and the pages.

    python -m benchmarks.feedback_queue [--tasks 1000000] [--annotators 4]

Starts a PostgreSQL and a Redis of its own under ``var/bench/``. Prints a table and writes it to
``var/bench/feedback_queue.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TARGETS_MS = {"next task": 50.0, "next task, all at once": 50.0, "task page": 100.0, "queue page": 100.0}
REPEATS = 100

RESULTS = """
INSERT INTO inference_results (
    id, request_id, collection_id, robot_id, episode_id, step, instruction, policy_version_id, model_name,
    model_version, shadow, input_state, output_actions, proposed_actions, images, safety_score, safety_verdict,
    safety_violations, confidence, cached, queue_ms, inference_time_ms, total_ms, batch_size, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), %(collection)s, %(robot)s, %(episode)s, n, 'pick up the red cube', NULL,
    'synthetic', '1', false, '[0.1,0.2,0.3,0.4,0.5,0.6,0.7]',
    (SELECT jsonb_agg(jsonb_build_array(0.01 * h, 0.0, 0.1, 0, 0, 0, 0.5)) FROM generate_series(0, 7) h),
    NULL, '{}', 1.0, 'pass', '[]', random(), false, 0.4, 20, 24, 4, now()
FROM generate_series(1, %(tasks)s) AS n
"""
TASKS = """
INSERT INTO feedback_tasks (
    id, collection_id, inference_result_id, slot, reason, priority, priority_parts, state, created_at)
SELECT gen_random_uuid(), collection_id, id, 0, 'low_confidence', 1 - confidence,
    jsonb_build_object('reason', 1.0, 'uncertainty', 1 - confidence), 'open', now()
FROM inference_results
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--annotators", type=int, default=4)
    options = parser.parse_args()
    root = Path("var/bench").resolve()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="feedback_queue.") as folder:
        Path(folder).chmod(0o755)  # as root the servers run as somebody else
        with services(Path(folder)):
            results = measure(options.tasks, options.annotators)
    (root / "feedback_queue.json").write_text(json.dumps(results, indent=2))


@contextmanager
def services(folder: Path) -> Iterator[None]:
    """PostgreSQL and Redis for this process, migrated."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "vla_project.settings.test"
    from vla_project.launcher import EmbeddedPostgres, EmbeddedRedis
    from vla_project.launcher.ports import free_port

    with (
        EmbeddedPostgres(folder / "postgres", port=free_port()) as postgres,
        EmbeddedRedis(folder / "redis", port=free_port()) as redis,
    ):
        os.environ.update(DATABASE_URL=postgres.url, REDIS_URL=redis.url, VAR_DIR=str(folder))
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        yield
        connections.close_all()


def measure(tasks: int, annotators: int) -> dict[str, Any]:
    """Milliseconds of each operation. Every next task is answered before the following one is asked for."""
    from django.db import connection
    from django.test import Client

    from feedback import services as feedback

    people = populate(tasks, annotators)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM feedback_tasks WHERE state = 'open'")
        open_tasks = cursor.fetchone()[0]

    taken: list[float] = []
    for _ in range(REPEATS):
        taken.append(timed(lambda: feedback.claim_next_task(annotator=people[0])))
        finish(people[0])

    with ThreadPoolExecutor(annotators) as pool:
        at_once = [value for values in pool.map(work_through, people) for value in values]

    client = Client()
    client.force_login(people[0])
    task = feedback.claim_next_task(annotator=people[0])
    assert task is not None
    task_page = [timed(lambda: client.get(f"/feedback/{task.pk}/")) for _ in range(REPEATS)]
    queue_page = [timed(lambda: client.get("/feedback/")) for _ in range(REPEATS)]

    samples = {
        "next task": taken,
        "next task, all at once": at_once,
        "task page": task_page[1:],
        "queue page": queue_page[1:],
    }
    say(f"{open_tasks:,} open tasks, {annotators} annotators at once\n")
    say(f"{'':26}{'p50 ms':>10}{'p95 ms':>10}{'target':>10}")
    figures = {}
    for name, values in samples.items():
        p50, p95 = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        figures[name] = {"p50_ms": round(p50, 2), "p95_ms": round(p95, 2), "target_ms": TARGETS_MS[name]}
        say(f"{name:26}{p50:>10.1f}{p95:>10.1f}{TARGETS_MS[name]:>10.0f}")
    return {"open_tasks": open_tasks, "annotators": annotators, **figures}


def populate(tasks: int, annotators: int) -> list[Any]:
    """A collection with annotators and ``tasks`` open tasks, each about a result of its own."""
    from django.db import connection

    from accounts.models import User
    from collections_app.models import ActionDimension, ActionSpace, Collection, Episode, Membership, Robot

    space = ActionSpace.objects.create(name="bench", control_rate_hz=20, state_names=[f"s{n}" for n in range(7)])
    ActionDimension.objects.bulk_create(
        ActionDimension(action_space=space, position=n, name=f"d{n}", low=-1, high=1) for n in range(7)
    )
    collection = Collection.objects.create(slug="bench", name="Bench", action_space=space, cameras=["base"])
    robot = Robot.objects.create(collection=collection, name="arm")
    episode = Episode.objects.create(
        collection=collection, robot=robot, external_id="e", started_at="2026-01-01T00:00Z"
    )
    people = [User.objects.create_user(f"annotator{n}") for n in range(annotators)]
    Membership.objects.bulk_create(Membership(collection=collection, user=user, role="annotator") for user in people)
    values: dict[str, Any] = {"collection": collection.pk, "robot": robot.pk, "episode": episode.pk, "tasks": tasks}
    with connection.cursor() as cursor:
        cursor.execute(RESULTS, values)
        cursor.execute(TASKS)
        cursor.execute("VACUUM ANALYZE feedback_tasks")
        cursor.execute("VACUUM ANALYZE inference_results")
    return people


def work_through(annotator: Any) -> list[float]:
    """One annotator's share of the work, on a thread and a connection of its own."""
    from django.db import connection

    from feedback import services as feedback

    values = []
    try:
        for _ in range(REPEATS // 4):
            values.append(timed(lambda: feedback.claim_next_task(annotator=annotator)))
            finish(annotator)
    finally:
        connection.close()
    return values


def finish(annotator: Any) -> None:
    from feedback import services as feedback
    from feedback.choices import TaskVerdict

    held = feedback.claim_next_task(annotator=annotator)
    assert held is not None
    feedback.submit_task(task_id=held.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
