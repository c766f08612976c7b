"""``kill -9`` of any one process during load: what was answered 200 is in the database afterwards."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.system import RunningSystem
from tests.inference.conftest import jpeg
from tests.inference.waiting import wait_until

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("nothing_but_answers")]

ROBOTS = 4


@dataclass
class Load:
    """Robots that ask without pause and keep the request ids that were answered 200."""

    system: RunningSystem
    answered: dict[str, list[list[float]]] = field(default_factory=dict)
    refused: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=self._drive, args=(i,), daemon=True) for i in range(ROBOTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _drive(self, number: int) -> None:
        picture = base64.b64encode(jpeg()).decode()
        # An episode of its own each time: a step that is there twice would be kept out of the next run's Parquet.
        episode = f"durability-{uuid.uuid4().hex[:8]}-{number}"
        step = 0
        while not self._stopping.is_set():
            step += 1
            body = {
                "collection": "demo",
                "robot": f"load-{number}",
                "episode": episode,
                "step": step,
                "instruction": "lift the red cube",
                "state": [0.1 * number, 0.0, 0.2, 0.0, 0.0, 0.0, 0.08],
                "images": {"base": picture, "wrist": picture},
                "model": "durable@1",
                "deadline_ms": 3000,
            }
            request = urllib.request.Request(
                f"{self.system.base_url}/api/v1/inference",
                json.dumps(body).encode(),
                {"Authorization": f"Api-Key {self.system.demo['api_key']}", "Content-Type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    answer = json.loads(response.read())
                    self.answered[answer["request_id"]] = answer["actions"]
            except (urllib.error.URLError, ConnectionError, TimeoutError, OSError):
                self.refused += 1
                self._stopping.wait(0.05)


@pytest.fixture(scope="module", autouse=True)
def policy(system: RunningSystem) -> None:
    """A quick accelerator beside the demo's policy, without a share of its traffic but by name."""
    system.manage(
        "add_policy",
        "durable@1",
        *("--backend", "simulated", "--option", "base_ms=5", "--option", "per_sample_ms=1"),
        *("--collection", "demo", "--shadow"),
    )


@pytest.fixture
def load(system: RunningSystem) -> Iterator[Load]:
    made = Load(system)
    yield made
    made.stop()


VICTIMS = {
    "web": r"vla_project\.server",
    "inference worker": r"-Q inference",
    "recorder": r"-Q recorder",
    "Redis": r"valkey-server|redis-server",
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_was_answered_is_recorded_after_a_kill(system: RunningSystem, load: Load, victim: str) -> None:
    wait_until(lambda: len(load.answered) > 60, seconds=30)
    victims = system.pids(VICTIMS[victim])
    assert victims
    before = len(load.answered)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: set(system.pids(VICTIMS[victim])) - set(victims), seconds=30)
    wait_until(lambda: len(load.answered) > before + 60, seconds=60)
    load.stop()

    with system.database() as connection:

        def missing() -> set[str]:
            rows = connection.execute(
                "SELECT request_id FROM inference_results WHERE NOT shadow AND request_id = ANY(%s)",
                [[uuid.UUID(request) for request in load.answered]],
            ).fetchall()
            return set(load.answered) - {str(row[0]) for row in rows}

        wait_until(lambda: not missing(), seconds=60)
        rows = connection.execute(
            "SELECT request_id, output_actions FROM inference_results WHERE NOT shadow AND request_id = ANY(%s)",
            [[uuid.UUID(request) for request in load.answered]],
        ).fetchall()
    assert len(rows) == len(load.answered)
    assert all(actions == load.answered[str(request)] for request, actions in rows)
    wait_until(system.is_ready, seconds=30)


def test_postgresql_may_be_killed_while_robots_go_on(system: RunningSystem, load: Load) -> None:
    wait_until(lambda: len(load.answered) > 30, seconds=30)
    (postmaster,) = [pid for pid in system.pids(r"bin/postgres -D") if _has_children(system, pid)][:1]
    os.kill(postmaster, signal.SIGKILL)
    killed_at = len(load.answered)
    wait_until(lambda: len(load.answered) > killed_at + 30, seconds=60)
    load.stop()

    def recorded() -> bool:
        try:
            with system.database() as connection:
                (count,) = connection.execute(
                    "SELECT count(*) FROM inference_results WHERE NOT shadow AND request_id = ANY(%s)",
                    [[uuid.UUID(request) for request in load.answered]],
                ).fetchone() or (0,)
        except Exception:
            time.sleep(0.2)
            return False
        return bool(count == len(load.answered))

    wait_until(recorded, seconds=90)


def _has_children(system: RunningSystem, pid: int) -> bool:
    from pathlib import Path

    return any(
        status.read_text().rsplit(")", 1)[1].split()[1] == str(pid)
        for status in Path("/proc").glob("[0-9]*/stat")
        if status.exists()
    )
