"""``python -m benchmarks [NAME …]``: run those named, or all, each in a process of its own; then the report."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import report
from benchmarks.results import say

BENCHMARKS = (
    "inference",
    "path",
    "memory",
    "pipeline",
    "pipeline_redaction",
    "search",
    "arrival",
    "feedback_queue",
    "admin_lists",
    "viewers",
)


def main() -> None:
    names = sys.argv[1:] or BENCHMARKS
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        raise SystemExit(f"There is no benchmark {', '.join(sorted(unknown))}. There are: {', '.join(BENCHMARKS)}.")
    for name in names:
        say(f"\n== {name}")
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    report.write()


if __name__ == "__main__":
    main()
