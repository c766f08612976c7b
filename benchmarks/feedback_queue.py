"""The annotators' queue with a million open tasks: the next task, and the pages.

    python -m benchmarks.feedback_queue [--tasks 1000000] [--annotators 4] [--data FOLDER [--load-only]]

Every annotator has a week of work behind them, some of which a reviewer fixed. One is far ahead of the others where two
answer each result, so that the most useful tasks of all are about results that they have answered. Starts a PostgreSQL
and a Redis of its own under ``var/bench/``. Prints a table and writes it to ``var/bench/feedback_queue.json``. With
``--data`` the filled tables stay in that folder for the next run, so that filling and measuring can be done at
different hours.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

from benchmarks.results import FOLDER, percentile, save, say

NEXT, PAGE = 50.0, 100.0
REPEATS = 100
# Answers of each annotator in the last week.
HISTORY = 5000
# Results that the one far ahead has answered and nobody else has.
AHEAD = 20_000
# One in so many answers was fixed by a reviewer.
FIXED_EVERY = 50

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


# What an annotator answered: the tasks ``%(skip)s`` and following, the most useful first, spread over a week.
ANSWERED = """
WITH chosen AS (
    SELECT id, collection_id, inference_result_id, row_number() OVER () AS n FROM (
        SELECT * FROM feedback_tasks WHERE state = 'open' ORDER BY priority DESC, id OFFSET %(skip)s LIMIT %(count)s
    ) AS best
), done AS (
    UPDATE feedback_tasks SET state = 'done', assignee_id = %(user)s,
        completed_at = now() - interval '6 days' * chosen.n / %(count)s
    FROM chosen WHERE feedback_tasks.id = chosen.id
)
INSERT INTO feedback (
    id, collection_id, inference_result_id, task_id, feedback_type, verdict, preferred, comment, annotator_id,
    seconds_spent, current, disputed, review_state, created_at)
SELECT gen_random_uuid(), collection_id, inference_result_id, id, 'preference', 'accept', 'model', '', %(user)s,
    20 + n %% 40, true, false, 'pending', now() - interval '6 days' * n / %(count)s
FROM chosen
"""
SECOND_ANNOTATOR = """
INSERT INTO feedback_tasks (
    id, collection_id, inference_result_id, slot, reason, priority, priority_parts, state, created_at)
SELECT gen_random_uuid(), collection_id, inference_result_id, 1, reason, priority, priority_parts, 'open', now()
FROM feedback_tasks WHERE assignee_id = %(user)s AND state = 'done'
"""
# A reviewer looked at some of what ``%(user)s`` answered, and gave a chunk of their own.
FIXED = """
WITH changed AS (
    UPDATE feedback SET review_state = 'fixed', reviewed_at = created_at + interval '1 hour'
    WHERE id IN (
        SELECT id FROM (SELECT id, row_number() OVER () AS n FROM feedback WHERE annotator_id = %(user)s) AS numbered
        WHERE n %% %(every)s = 0
    )
    RETURNING id, reviewed_at
)
INSERT INTO reviews (id, feedback_id, reviewer_id, verdict, comment, fixed_actions, created_at)
SELECT gen_random_uuid(), id, %(reviewer)s, 'fixed', 'The gripper closes too early here.',
    (SELECT jsonb_agg(jsonb_build_array(0.01 * h, 0.0, 0.1, 0, 0, 0, 0.5)) FROM generate_series(0, 7) h), reviewed_at
FROM changed
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--annotators", type=int, default=4)
    parser.add_argument("--data", type=Path, help="where the filled tables stay")
    parser.add_argument("--load-only", action="store_true", help="fill the tables and stop")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="feedback_queue.") as temporary:
        folder = (options.data or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # as root the servers run as somebody else
        with services(folder):
            from django.db import transaction

            people = annotators()
            if not people:
                with transaction.atomic():  # all of it, or nothing is there for the next run
                    people = populate(options.tasks, options.annotators)
                tidy()
            if not options.load_only:
                save("feedback_queue", measure(people))


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


def annotators() -> list[Any]:
    """Those of tables that were filled before, the one far ahead at the end."""
    from accounts.models import User

    return list(User.objects.filter(username__startswith="annotator").order_by("username"))


def measure(everybody: list[Any]) -> dict[str, Any]:
    """Milliseconds of each operation. Every next task is answered before the following one is asked for."""
    from django.db import connection
    from django.test import Client

    from feedback import services as feedback

    *people, ahead = everybody
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM feedback_tasks WHERE state = 'open'")
        open_tasks = cursor.fetchone()[0]

    samples = {
        "next task": (NEXT, work_through(people[0], REPEATS)),
        f"next task of somebody {AHEAD:,} results ahead": (NEXT, work_through(ahead, REPEATS)),
        f"next task, {len(people)} at the same moment": (NEXT, at_the_same_moment(people)),
        f"next task, {len(people)} who never pause": (NEXT, without_a_pause(people)),
    }
    client = Client()
    client.force_login(people[0])
    task = feedback.claim_next_task(annotator=people[0])
    assert task is not None
    for name, path in {"task page": f"/feedback/{task.pk}/", "queue page": "/feedback/"}.items():
        samples[name] = (PAGE, pages(client, path))
    samples["submit, to the next task"] = (PAGE, [submit(client, people[0]) for _ in range(REPEATS)])

    say(f"{open_tasks:,} open tasks\n")
    say(f"{'':46}{'p50 ms':>10}{'p95 ms':>10}{'target':>10}")
    rows = []
    for name, (target, values) in samples.items():
        p50, p95 = percentile(values, 50), percentile(values, 95)
        rows.append({"operation": name, "p50_ms": round(p50, 1), "p95_ms": round(p95, 1), "target_ms": target})
        say(f"{name:46}{p50:>10.1f}{p95:>10.1f}{target:>10.0f}")
    return {"open_tasks": open_tasks, "history": HISTORY, "rows": rows}


def populate(tasks: int, annotators: int) -> list[Any]:
    """A collection with annotators, the last far ahead, and ``tasks`` open tasks, each about a result of its own."""
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
    people = [User.objects.create_user(f"annotator{n}") for n in range(annotators + 1)]
    Membership.objects.bulk_create(Membership(collection=collection, user=user, role="annotator") for user in people)
    # What was answered is no longer open; each second slot is.
    results = tasks + annotators * min(HISTORY, tasks // 10)
    values: dict[str, Any] = {"collection": collection.pk, "robot": robot.pk, "episode": episode.pk, "tasks": results}
    with connection.cursor() as cursor:
        cursor.execute(RESULTS, values)
        cursor.execute(TASKS)
        cursor.execute("ANALYZE feedback_tasks")
        cursor.execute(ANSWERED, {"user": people[-1].pk, "skip": 0, "count": min(AHEAD, tasks // 2)})
        cursor.execute(SECOND_ANNOTATOR, {"user": people[-1].pk})
        for user in people[:-1]:
            cursor.execute(ANSWERED, {"user": user.pk, "skip": tasks // 2, "count": min(HISTORY, tasks // 10)})
        for user in people:
            cursor.execute(FIXED, {"user": user.pk, "reviewer": people[-1].pk, "every": FIXED_EVERY})
    return people


def tidy() -> None:
    """As autovacuum leaves the tables."""
    from django.db import connection

    with connection.cursor() as cursor:
        for table in ("feedback_tasks", "feedback", "reviews", "inference_results"):
            cursor.execute(f"VACUUM ANALYZE {table}")


def work_through(annotator: Any, count: int) -> list[float]:
    """How long each of ``count`` next tasks took to come."""
    from feedback import services as feedback

    values = []
    for _ in range(count):
        values.append(timed(lambda: feedback.claim_next_task(annotator=annotator)))
        finish(annotator)
    return values


def without_a_pause(people: list[Any]) -> list[float]:
    """Everybody asks and answers as fast as they can, on threads of one process as the web server's."""
    return _on_threads(people, lambda annotator: work_through(annotator, REPEATS // 4))


def at_the_same_moment(people: list[Any]) -> list[float]:
    """Everybody asks at one moment, again and again; all have answered before the next moment."""
    from feedback import services as feedback

    barrier = Barrier(len(people))

    def ask(annotator: Any) -> list[float]:
        values = []
        for _ in range(REPEATS // 4):
            barrier.wait()
            values.append(timed(lambda: feedback.claim_next_task(annotator=annotator)))
            barrier.wait()
            finish(annotator)
        return values

    return _on_threads(people, ask)


def _on_threads(people: list[Any], work: Callable[[Any], list[float]]) -> list[float]:
    """``work`` for each at once, each with a database connection of their own."""
    from django.db import connection

    def alone(annotator: Any) -> list[float]:
        try:
            return work(annotator)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(people)) as pool:
        return [value for values in pool.map(alone, people) for value in values]


def pages(client: Any, path: str) -> list[float]:
    client.get(path)
    return [timed(lambda: client.get(path)) for _ in range(REPEATS)]


def submit(client: Any, annotator: Any) -> float:
    """Milliseconds to post the answer to the task that ``annotator`` holds, and to be sent to the next one."""
    from feedback.models import FeedbackTask

    held = FeedbackTask.objects.held_by(annotator).get()
    took = timed(lambda: client.post(f"/feedback/{held.pk}/", {"verdict": "accept"}))
    assert not FeedbackTask.objects.held_by(annotator).filter(pk=held.pk).exists()
    return took


def finish(annotator: Any) -> None:
    from feedback import services as feedback
    from feedback.choices import TaskVerdict

    held = feedback.claim_next_task(annotator=annotator)
    assert held is not None
    feedback.submit_task(task_id=held.pk, annotator=annotator, verdict=TaskVerdict.ACCEPT)


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
