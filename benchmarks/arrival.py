"""How soon what arrives is found: from an answer to a robot, or to somebody's comment, until a search has it.

    python -m benchmarks.arrival [--each 20]

The whole system as ``make run`` starts it, first with nothing else to do, then with robots in closed loop. Every text
is new and asked for over ``GET /api/v1/search`` until it is there. Writes ``var/bench/arrival.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks import contenders, observations
from benchmarks.collection import ACCELERATOR
from benchmarks.contenders import BENCH, ROOT, Running
from benchmarks.inference import CONTENDERS, measure
from benchmarks.results import save, say

ROBOTS = 8
POLL_SECONDS = 0.05
GIVEN_UP_AFTER = 120.0  # the first text waits for a worker to load the model


@dataclass
class Probe:
    """One caller of the API. Each of ``a_result`` and ``a_comment`` takes the number of a text that is new."""

    port: int
    key: str
    request_id: str = ""

    def a_result(self, number: int) -> float:
        """Seconds from the answer to a request until its instruction is found."""
        said = f"part R{number}"
        body = orjson.loads(observations.json_body(0, number, model=ACCELERATOR))
        body |= {"instruction": f"move {said} to the tray", "episode": f"arrival-{number}", "step": 0}
        self.request_id = self._ask("/api/v1/inference", body)["request_id"]
        return self._until_found(said)

    def a_comment(self, number: int) -> float:
        """Seconds from the answer to feedback about the last result until its comment is found."""
        said = f"screw C{number}"
        body = {"request_id": self.request_id, "type": "failure", "comment": f"it dropped {said}"}
        self._ask("/api/v1/feedback", body)
        return self._until_found(said)

    def _until_found(self, said: str) -> float:
        started = time.perf_counter()
        asked = "/api/v1/search?" + urllib.parse.urlencode({"q": f'"{said}"', "limit": 1})
        while (taken := time.perf_counter() - started) < GIVEN_UP_AFTER:
            if self._ask(asked)["results"]:
                return taken
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"{said} was not found within {GIVEN_UP_AFTER:.0f} s.")

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Api-Key {self.key}", "Content-Type": "application/json"}
        data = None if body is None else orjson.dumps(body)
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="texts of each kind")
    options = parser.parse_args()
    BENCH.mkdir(parents=True, exist_ok=True)
    with contenders.this_system() as running:
        probe = Probe(running.port, _key(running))
        first = round(probe.a_result(0), 1)
        probe.a_comment(0)
        say(f"the first text was found after {first} s")
        contenders.until_settled(running)
        rows = _rows(probe, range(1, options.each + 1), robots=0)
        with ThreadPoolExecutor(1) as beside:
            load = beside.submit(measure, CONTENDERS["this-rest"], running, ROBOTS, 2.0 * options.each)
            time.sleep(5)  # until the robots are at work
            rows += _rows(probe, range(options.each + 1, 2 * options.each + 1), robots=ROBOTS)
            load.result()
    save("arrival", {"each": options.each, "first_seconds": first, "rows": rows})


def _rows(probe: Probe, numbers: range, *, robots: int) -> list[dict[str, Any]]:
    taken: dict[str, list[float]] = {"an instruction": [], "a comment": []}
    for number in numbers:
        taken["an instruction"].append(probe.a_result(number))
        taken["a comment"].append(probe.a_comment(number))
    rows = [
        {"what": what, "robots": robots, "p50": round(statistics.median(times), 2), "worst": round(max(times), 2)}
        for what, times in taken.items()
    ]
    for row in rows:
        say(f"{row['what']:>15}, {robots} robots: p50 {row['p50']} s, worst {row['worst']} s")
    return rows


def _key(running: Running) -> str:
    made = subprocess.run(
        [sys.executable, "manage.py", "create_api_key", "probe", "--collection", "bench", "--tier", "high"],
        cwd=ROOT,
        env=running.environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return made.stdout.split()[-1]


if __name__ == "__main__":
    main()
