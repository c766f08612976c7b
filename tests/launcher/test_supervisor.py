from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.conftest import Launched, wait_until
from vla_project.launcher.processes import RestartPolicy
from vla_project.launcher.supervisor import describe

pytestmark = pytest.mark.processes

# Ends at SIGTERM, and says so; `started` is followed by its process id.
POLITE = """
import os, signal, sys
def leave(*_):
    print("leaving", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print(f"started {os.getpid()} .", flush=True)
while True: signal.pause()
"""
STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: print("not stopping", flush=True))
print(f"started {os.getpid()} .", flush=True)
while True: signal.pause()
"""
WITH_A_CHILD = """
import os, signal
child = os.fork()
if child: print(f"started {os.getpid()} . child {child} .", flush=True)
while True: signal.pause()
"""

Supervise = Callable[..., Launched]


@pytest.fixture
def supervise(launch: Callable[..., Launched], var_dir: Path) -> Supervise:
    def start(*rows: dict[str, Any]) -> Launched:
        table = var_dir / "table.json"
        table.write_text(json.dumps(rows))
        return launch("-m", "tests.launcher.supervised", str(table))

    return start


def row(name: str, program: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "argv": [sys.executable, "-c", program], **fields}


def pid_after(text: str, output: str) -> int:
    return int(output.rsplit(text, 1)[1].split()[0])


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rsplit(")", 1)[1].split()[0] == "Z"  # nobody has collected it yet


def test_each_line_carries_the_aligned_name_of_its_process(supervise: Supervise) -> None:
    running = supervise(row("web", POLITE), row("inference", POLITE))

    wait_until(lambda: running.output.count("started") == 2)

    starts = {line.split("started")[0] for line in running.output.splitlines()}
    assert starts == {"web       | ", "inference | "}


def test_a_killed_process_is_started_again_and_the_cause_is_said(supervise: Supervise) -> None:
    running = supervise(row("web", POLITE, restart={"first_delay": 0.05}))
    running.wait_for(" .")
    first = pid_after("started ", running.output)

    os.kill(first, signal.SIGKILL)

    wait_until(lambda: running.output.count("started") == 2)
    assert "web ended: killed by SIGKILL. Starting it again in 0.05 s." in running.output
    assert pid_after("started ", running.output) != first


def test_children_of_a_killed_process_do_not_survive_it(supervise: Supervise) -> None:
    running = supervise(row("pool", WITH_A_CHILD))
    running.wait_for("child")
    wait_until(lambda: running.output.count(" .") == 2)
    parent, child = pid_after("started ", running.output), pid_after("child ", running.output)

    os.kill(parent, signal.SIGKILL)

    wait_until(lambda: is_gone(child))


def test_one_that_keeps_dying_says_why_and_the_rest_goes_on(supervise: Supervise) -> None:
    broken = "import sys; print('no such table: robots'); sys.exit(3)"
    policy = {"first_delay": 0.01, "deaths": 3, "resting_delay": 0.3}
    running = supervise(row("web", POLITE), row("worker", broken, restart=policy))

    running.wait_for("worker is tried again every 0.3 s")

    report = running.output.split("worker keeps dying (3 times in a row): exit status 3. It last wrote:")[1]
    assert "worker | no such table: robots" in report
    running.wait_for("worker ended: exit status 3. Starting it again in 0.3 s.")
    assert "web ended" not in running.output


def test_a_program_that_does_not_exist_is_reported_like_any_other_death(supervise: Supervise) -> None:
    policy = {"first_delay": 0.01, "deaths": 2}
    running = supervise({"name": "web", "argv": ["/no/such/program"], "restart": policy})

    running.wait_for("is tried again")

    assert "web | /no/such/program: No such file or directory" in running.output


def test_stop_goes_backwards_through_the_table_and_leaves_nothing(supervise: Supervise) -> None:
    running = supervise(row("postgres", POLITE), row("web", POLITE, after_ready=True), row("robot", POLITE))
    wait_until(lambda: running.output.count("started") == 3)
    pids = [int(line.split()[-2]) for line in running.output.splitlines()]

    running.send(signal.SIGTERM)

    assert running.status() == 0
    leaving = [line.split()[0] for line in running.output.splitlines() if "leaving" in line]
    assert leaving == ["robot", "web", "postgres"]
    assert all(is_gone(pid) for pid in pids)


def test_one_that_does_not_stop_in_time_is_killed(supervise: Supervise) -> None:
    running = supervise(row("worker", STUBBORN, stop_seconds=0.2))
    running.wait_for(" .")
    pid = pid_after("started ", running.output)

    running.send(signal.SIGTERM)

    assert running.status() == 0
    assert "worker did not stop in time and is killed." in running.output
    assert is_gone(pid)


def test_a_second_signal_does_not_wait(supervise: Supervise) -> None:
    running = supervise(row("worker", STUBBORN, stop_seconds=600))
    running.wait_for(" .")

    running.send(signal.SIGTERM)
    running.wait_for("stopping")
    running.send(signal.SIGTERM)

    assert running.status() == 0


def test_children_end_with_a_supervisor_that_is_killed(supervise: Supervise) -> None:
    running = supervise(row("web", POLITE))
    running.wait_for(" .")
    pid = pid_after("started ", running.output)

    running.send(signal.SIGKILL)

    wait_until(lambda: is_gone(pid))


def test_delays_double_up_to_a_limit_and_then_rest() -> None:
    policy = RestartPolicy(first_delay=0.5, longest_delay=3.0, deaths=6, resting_delay=30.0)

    assert [policy.delay(lives) for lives in range(1, 8)] == [0.5, 1.0, 2.0, 3.0, 3.0, 30.0, 30.0]


@pytest.mark.parametrize(("status", "words"), [(0, "exit status 0"), (2, "exit status 2"), (-9, "killed by SIGKILL")])
def test_exit_statuses_are_put_into_words(status: int, words: str) -> None:
    assert describe(status) == words
