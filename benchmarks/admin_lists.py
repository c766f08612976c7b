"""The admin's lists over five million inference results: how long each answers, its slowest ways in included.

    python -m benchmarks.admin_lists [--results 5000000] [--data FOLDER [--load-only]]

Starts a PostgreSQL and a Redis of its own under ``var/bench/``, fills the tables by SQL, and asks for each page as a
superuser and as a member who manages one collection of four. Writes ``var/bench/admin_lists.json``. With ``--data`` the
filled tables stay in that folder for the next run, so that filling and measuring can be done at different hours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.feedback_queue import services
from benchmarks.results import FOLDER, save, say

TARGET_MS = 300.0
REPEATS = 5
COLLECTIONS = 4
ROBOTS = 40

# Spread evenly over the last thirty days, so that some lie in the partition of the month before.
RESULTS = """
INSERT INTO inference_results (
    id, request_id, collection_id, robot_id, episode_id, step, instruction, policy_version_id, model_name,
    model_version, shadow, input_state, output_actions, proposed_actions, images, safety_score, safety_verdict,
    safety_violations, confidence, cached, queue_ms, inference_time_ms, total_ms, batch_size, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), robots.collection_id, robots.id, episodes.id, n %% 250,
    'pick up the red cube', NULL, 'synthetic', '1', n %% 20 = 0, '[0.1,0.2,0.3,0.4,0.5,0.6,0.7]',
    CASE WHEN n %% 1000 = 0 THEN '[]'::jsonb ELSE '[[0.01,0,0.1,0,0,0,0.5],[0.02,0,0.1,0,0,0,0.5]]'::jsonb END,
    NULL, '{}', 0.9, CASE WHEN n %% 1000 = 0 THEN 'rejected' WHEN n %% 50 = 0 THEN 'clamped' ELSE 'pass' END,
    '[]', 0.5, false, 0.4, 20, 24, 4, now() - interval '30 days' * (1 - n / %(results)s::float)
FROM generate_series(1, %(results)s) AS n
JOIN bench_robots AS robots ON robots.number = n %% %(robots)s
JOIN bench_episodes AS episodes ON episodes.number = n / 250 %% %(episodes)s
"""
EPISODES = """
INSERT INTO episodes (id, collection_id, robot_id, external_id, instruction, outcome, tags, step_count, started_at,
    created_at)
SELECT gen_random_uuid(), robots.collection_id, robots.id, 'episode-' || n, 'pick up the red cube',
    CASE WHEN n %% 3 = 0 THEN 'failure' ELSE 'success' END, '{}', 250,
    now() - interval '30 days' * (1 - n / %(episodes)s::float),
    now() - interval '30 days' * (1 - n / %(episodes)s::float)
FROM generate_series(1, %(episodes)s) AS n JOIN bench_robots AS robots ON robots.number = n %% %(robots)s
"""
TASKS = """
INSERT INTO feedback_tasks (
    id, collection_id, inference_result_id, slot, reason, priority, priority_parts, state, created_at)
SELECT gen_random_uuid(), collection_id, id, 0, 'low_confidence', 0.5, '{}', 'open', created_at
FROM inference_results WHERE NOT shadow ORDER BY created_at DESC LIMIT %(tenth)s
"""
FEEDBACK = """
INSERT INTO feedback (id, collection_id, inference_result_id, feedback_type, verdict, rating, preferred, comment,
    current, disputed, review_state, created_at)
SELECT gen_random_uuid(), collection_id, id, 'rating', '', 4, '', '', true, false, 'pending', created_at
FROM inference_results WHERE NOT shadow ORDER BY created_at DESC LIMIT %(tenth)s
"""
OBJECTS = """
INSERT INTO stored_objects (id, key, kind, collection_id, bytes, sha256, legal_hold, created_at)
SELECT gen_random_uuid(), 'raw/2026-11-01/collection_bench/' || n || '/base.jpg', 'raw',
    (SELECT collection_id FROM bench_robots WHERE number = n %% %(robots)s), 40000, md5(n::text) || md5(n::text), false,
    now() - interval '30 days' * (1 - n / %(tenth)s::float)
FROM generate_series(1, %(tenth)s) AS n
"""
# The chain of hashes is not what is measured: the trigger that makes it is off while these rows are written.
AUDIT = """
INSERT INTO audit_logs (action, actor_name, resource_type, resource_name, collection_id, changes, request_id, timestamp,
    signature, previous_hash, hash)
SELECT 'episode.labelled', 'annotator-' || n %% 50, 'episode', 'episode-' || n, NULL, '{}', 'request-' || n,
    now() - interval '30 days' * (1 - n / %(tenth)s::float), '',
    sha256(int8send(n - 1)), sha256(int8send(n))
FROM generate_series(1::bigint, %(tenth)s) AS n
"""

LISTS = {
    "results": "inference/inferenceresult/",
    "results, half of them further on": "inference/inferenceresult/?after={middle}",
    "results, the page before that": "inference/inferenceresult/?before={middle}",
    "results, oldest first": "inference/inferenceresult/?o=1",
    "results of a collection": "inference/inferenceresult/?collection__id__exact={collection}",
    "rejected results": "inference/inferenceresult/?safety_verdict__exact=rejected",
    "rejected results of a collection": "inference/inferenceresult/?safety_verdict__exact=rejected"
    "&collection__id__exact={collection}",
    "results served from the cache: none": "inference/inferenceresult/?cached__exact=1",
    "shadow results": "inference/inferenceresult/?shadow__exact=1",
    "results since a day": "inference/inferenceresult/?created_at__gte={yesterday}T00:00Z",
    "results, search for a request": "inference/inferenceresult/?q={request}",
    "results, search for a robot": "inference/inferenceresult/?q=robot-7",
    "results, search for nothing": "inference/inferenceresult/?q=no-such-robot",
    "one result": "inference/inferenceresult/{result}/change/",
    "robots": "collections_app/robot/",
    "episodes": "collections_app/episode/",
    "failed episodes": "collections_app/episode/?outcome__exact=failure",
    "episodes, search": "collections_app/episode/?q=episode-777",
    "feedback tasks": "feedback/feedbacktask/",
    "feedback": "feedback/feedback/",
    "feedback waiting for review": "feedback/feedback/?review_state__exact=pending",
    "stored objects": "pipeline/storedobject/",
    "audit trail": "accounts/auditlog/",
    "audit trail of keys: none": "accounts/auditlog/?resource_type=apikey",
    "index": "",
}
MEMBERS = ("results", "rejected results", "results, search for a robot", "episodes", "feedback", "index")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=5_000_000)
    parser.add_argument("--data", type=Path, help="where the filled tables stay")
    parser.add_argument("--load-only", action="store_true", help="fill the tables and stop")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="admin_lists.") as temporary:
        folder = (options.data or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # as root the servers run as somebody else
        with services(folder):
            kept = folder / "addresses.json"
            if not kept.exists():
                kept.write_text(json.dumps({"results": options.results, "addresses": populate(options.results)}))
            if not options.load_only:
                filled = json.loads(kept.read_text())
                save("admin_lists", {"results": filled["results"], "target_ms": TARGET_MS, "rows": measure(filled)})


def populate(results: int) -> dict[str, Any]:
    """Fill the tables; what the addresses in ``LISTS`` are made of."""
    from django.db import connection
    from django.utils import timezone

    from accounts.choices import Role
    from accounts.models import User
    from collections_app.models import ActionDimension, ActionSpace, Collection, Membership, Robot
    from core.keyset_list import Key, cursor_of
    from inference.models import InferenceResult

    space = ActionSpace.objects.create(name="bench", control_rate_hz=20, state_names=[f"s{n}" for n in range(7)])
    ActionDimension.objects.bulk_create(
        ActionDimension(action_space=space, position=n, name=f"d{n}", low=-1, high=1) for n in range(7)
    )
    collections = [
        Collection.objects.create(slug=f"bench-{n}", name=f"Bench {n}", action_space=space, cameras=["base"])
        for n in range(COLLECTIONS)
    ]
    Robot.objects.bulk_create(Robot(collection=collections[n % COLLECTIONS], name=f"robot-{n}") for n in range(ROBOTS))
    User.objects.create_superuser("superuser", password=None)
    member = User.objects.create_user("member", is_staff=True)
    Membership.objects.create(collection=collections[0], user=member, role=Role.MANAGER)
    values = {"results": results, "tenth": results // 10, "episodes": results // 250, "robots": ROBOTS}
    started = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        cursor.execute("ALTER TABLE audit_logs DISABLE TRIGGER USER")
        # These rows point where they should; checking each of them would take longer than writing them.
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'inference_results'::regclass AND contype = 'f'"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f'ALTER TABLE inference_results DROP CONSTRAINT "{name}"')
        cursor.execute("CREATE TEMPORARY TABLE bench_robots AS SELECT *, substr(name, 7)::int AS number FROM robots")
        cursor.execute(EPISODES, values)
        cursor.execute(
            "CREATE TEMPORARY TABLE bench_episodes AS"
            " SELECT id, (row_number() OVER ())::int - 1 AS number FROM episodes"
        )
        cursor.execute("ANALYZE bench_robots; ANALYZE bench_episodes")
        # Indexes are built once at the end, which takes a third of the time of keeping them row by row.
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'inference_results' AND indexname NOT LIKE"
            " '%_pkey'"
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        cursor.execute(RESULTS, values)
        say(f"{results:,} results in {time.perf_counter() - started:.0f} s")
        for _, definition in indexes:
            cursor.execute(definition.replace(" ON ONLY ", " ON "))
        say(f"indexes after {time.perf_counter() - started:.0f} s")
        for statement in (TASKS, FEEDBACK, OBJECTS, AUDIT):
            cursor.execute(statement, values)
        cursor.execute("ALTER TABLE audit_logs ENABLE TRIGGER USER")  # what is measured writes entries as well
        for table in ("inference_results", "episodes", "feedback_tasks", "feedback", "stored_objects", "audit_logs"):
            cursor.execute(f"VACUUM ANALYZE {table}")
        say(f"all after {time.perf_counter() - started:.0f} s")
        cursor.execute(
            "SELECT id, request_id, to_char(now() - interval '1 day', 'YYYY-MM-DD') FROM inference_results LIMIT 1"
        )
        result, request, yesterday = cursor.fetchone()
    middle = InferenceResult.objects.filter(created_at__lt=timezone.now() - timedelta(days=15)).first()
    assert middle is not None
    fields = {field.name: field for field in InferenceResult._meta.concrete_fields}
    keys = [Key(fields[name], descending=True) for name in ("created_at", "id")]
    told = {"result": result, "request": request, "yesterday": yesterday, "collection": collections[1].pk}
    return {name: str(value) for name, value in told.items()} | {"middle": cursor_of(keys, middle)}


def measure(filled: dict[str, Any]) -> list[dict[str, Any]]:
    """Milliseconds of each page: the first request and the median of those after it."""
    from django.core.cache import cache
    from django.test import Client

    from accounts.models import User

    measured = []
    for visitor, names in (("superuser", tuple(LISTS)), ("member", MEMBERS)):
        client = Client()
        client.force_login(User.objects.get(username=visitor))
        client.get("/admin/password_change/")  # the templates and the session are in memory from here on
        for name in names:
            cache.clear()
            path = "/admin/" + LISTS[name].format(**filled["addresses"])
            samples = [_timed(client, path) for _ in range(REPEATS + 1)]
            row = {
                "visitor": visitor,
                "list": name,
                "first_ms": round(samples[0], 1),
                "p50_ms": round(statistics.median(samples[1:]), 1),
            }
            say(f"{visitor:10} {name:50} {row['first_ms']:>9.1f} {row['p50_ms']:>9.1f}")
            measured.append(row)
    return measured


def _timed(client: Any, path: str) -> float:
    started = time.perf_counter()
    response = client.get(path)
    taken = (time.perf_counter() - started) * 1000
    if response.status_code != 200:
        raise RuntimeError(f"{path} answered {response.status_code}")
    return taken


if __name__ == "__main__":
    main()
