"""One load, three servers: this system, openpi's protocol loop and LitServe, over the same simulated accelerator.

    python -m benchmarks.inference [--robots 1,8,32,64] [--seconds 5] [--rounds 2] [--only this-rest,litserve]

Closed loop: a robot asks again as soon as it has its answer, with two 224×224 JPEG views. A batch of n takes 20 + n ms,
slept. This system runs with everything on (API keys, rate limits, clamping safety, recording); the others have nothing
of it. Rounds are interleaved, and the round with the median throughput is shown. Writes ``var/bench/inference.json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks import contenders, processes
from benchmarks.collection import ACCELERATOR, BASE_MS, PER_SAMPLE_MS
from benchmarks.contenders import BENCH, ROOT, Running
from benchmarks.results import percentile, save, say


@dataclass(frozen=True)
class Contender:
    title: str
    start: Callable[[], AbstractContextManager[Running]]
    protocol: str
    path: str
    model: str = ""


CONTENDERS = {
    "this-rest": Contender("this system, REST", contenders.this_system, "http", "/api/v1/inference", ACCELERATOR),
    "this-ws": Contender(
        "this system, /ws/policy", contenders.this_system, "websocket", "/ws/policy/bench", ACCELERATOR
    ),
    "litserve": Contender("LitServe", lambda: contenders.litserve(batch_timeout=0.01), "http", "/predict"),
    "openpi": Contender("openpi's loop", contenders.openpi, "websocket", "/"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robots", default="1,8,32,64")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=",".join(CONTENDERS))
    options = parser.parse_args()
    counts = [int(count) for count in options.robots.split(",")]
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for name in options.only.split(","):
            contender = CONTENDERS[name]
            with contender.start() as running:
                measure(contender, running, min(counts), 1)
                contenders.until_settled(running)
                for robots in counts:
                    row = {
                        "server": contender.title,
                        "robots": robots,
                        **measure(contender, running, robots, options.seconds),
                    }
                    rows.setdefault((name, robots), []).append(row)
                    say(
                        f"{contender.title:26}{robots:>4} robots {row['rate']:>7.1f}/s  p50 {row['p50_ms']:>6.1f}  "
                        f"p99 {row['p99_ms']:>6.1f} ms  {row['of_ceiling']:>5.0%} of the ceiling  "
                        + "  ".join(f"{name} {ms:.2f}" for name, ms in row["cpu_ms_per_request"].items())
                    )
    median = [sorted(found, key=lambda row: row["rate"])[(len(found) - 1) // 2] for found in rows.values()]
    save("inference", {"seconds": options.seconds, "rounds": options.rounds, "rows": median})


def measure(contender: Contender, running: Running, robots: int, seconds: float) -> dict[str, Any]:
    """Throughput, latency and costs of ``robots`` in closed loop. Raises ``RuntimeError`` where a request failed."""
    load = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.load", "--port", str(running.port), "--robots", str(robots)),
            *("--seconds", str(seconds), "--protocol", contender.protocol, "--path", contender.path),
            *("--model", contender.model),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert load.stdin is not None
    assert load.stdout is not None
    load.stdin.write("\n".join(running.keys).encode())
    load.stdin.close()
    load.stdout.readline()
    before = processes.cpu_seconds(running.process.pid, contenders.label)
    load.stdout.readline()
    after = processes.cpu_seconds(running.process.pid, contenders.label)
    told = orjson.loads(load.stdout.read())
    if load.wait() or told["failures"]:
        raise RuntimeError(f"{contender.title} failed: {told['failures']}")
    latencies = [1000 * latency for latency in told["latencies"]]
    rate = len(latencies) / seconds
    batches = [size for size in told["batches"] if size]
    costs = {name: after[name] - before.get(name, 0.0) for name in after} | {"load": told["cpu"]}
    return {
        "rate": round(rate, 1),
        "p50_ms": round(statistics.median(latencies), 1),
        "p95_ms": round(percentile(latencies, 95), 1),
        "p99_ms": round(percentile(latencies, 99), 1),
        "of_ceiling": round(rate / ceiling(robots), 3),
        "mean_batch": round(len(batches) / sum(1 / size for size in batches), 1) if batches else None,
        "accelerator_busy": round(sum(BASE_MS / size + PER_SAMPLE_MS for size in batches) / 1000 / seconds, 3)
        if batches
        else None,
        "load_average": round(os.getloadavg()[0], 1),
        "cpu_ms_per_request": {
            name: round(1000 * cost / len(latencies), 3) for name, cost in costs.items() if cost > 0
        },
        "resident_mb": {
            name: round(mb) for name, mb in processes.resident_mb(running.process.pid, contenders.label).items()
        },
    }


def ceiling(robots: int) -> float:
    """Requests a second if every batch held all robots and nothing but the accelerator took time."""
    return robots * 1000 / (BASE_MS + PER_SAMPLE_MS * robots)


if __name__ == "__main__":
    BENCH.mkdir(parents=True, exist_ok=True)
    main()
