"""Is memory flat under load? Resident megabytes of each process, sampled while robots ask.

    python -m benchmarks.memory [--robots 16] [--seconds 600] [--every 15]

The first third is warm-up: pools, caches and allocators fill. After it a straight line is fitted to each process'
samples; its slope, in MB an hour of load and in bytes a request, is what leaks. Writes ``var/bench/memory.json``.
"""

from __future__ import annotations

import argparse
import threading
from typing import Any

import numpy as np

from benchmarks import contenders, inference, processes
from benchmarks.contenders import BENCH
from benchmarks.results import save, say


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robots", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--every", type=float, default=15.0)
    options = parser.parse_args()
    BENCH.mkdir(parents=True, exist_ok=True)
    samples: list[dict[str, float]] = []
    finished = threading.Event()
    contender = inference.CONTENDERS["this-rest"]
    with contender.start() as running:
        inference.measure(contender, running, 1, 1)
        contenders.until_settled(running)

        def sample() -> None:
            while not finished.wait(options.every):
                samples.append(processes.resident_mb(running.process.pid, contenders.label))

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        row = inference.measure(contender, running, options.robots, options.seconds)
        finished.set()
        sampler.join()
    rows = slopes(samples, every=options.every, rate=row["rate"])
    for told in rows:
        say("  ".join(f"{name} {value}" for name, value in told.items() if name != "samples_mb"))
    about = {"robots": options.robots, "seconds": options.seconds, "rate": row["rate"]}
    save("memory", {**about, "load_average": row["load_average"], "rows": rows})


def slopes(samples: list[dict[str, float]], *, every: float, rate: float) -> list[dict[str, Any]]:
    """For each process the megabytes at the start, after warming up and at the end, and its growth since then."""
    warm = len(samples) // 3
    rows = []
    for name in ("web", "inference worker", "recorder", "redis"):
        values = np.array([sample.get(name, 0.0) for sample in samples])
        seconds = every * np.arange(len(values))
        slope = float(np.polyfit(seconds[warm:], values[warm:], 1)[0])
        rows.append(
            {
                "process": name,
                "start_mb": round(float(values[0]), 1),
                "warm_mb": round(float(values[warm]), 1),
                "end_mb": round(float(values[-1]), 1),
                "mb_an_hour": round(slope * 3600, 1),
                "bytes_a_request": round(slope * 1e6 / rate, 1),
                "samples_mb": [round(float(value), 1) for value in values],
            }
        )
    return rows


if __name__ == "__main__":
    main()
