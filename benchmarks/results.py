"""Figures on their way out: percentiles, lines on the terminal, and ``var/bench/<name>.json``."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "var" / "bench"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that ``percent`` of ``values`` do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1).__trunc__()]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def save(name: str, figures: dict[str, Any]) -> None:
    """Write ``figures`` with when and on what they were taken."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    told = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), **figures}
    (FOLDER / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to compare its figures with his own."""
    cpu = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "cpu": cpu[0] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        # Above the number of cores, others were at work and every figure is lower than it could be.
        "load_average": round(os.getloadavg()[0], 1),
    }
