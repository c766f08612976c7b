"""Runs a small table of processes under the real supervisor: `supervised.py TABLE.json`, ended by a signal.

The table is a list of objects with the fields of ProcessSpec that a test needs: name, argv, and if wanted
stop_seconds, after_ready and the fields of RestartPolicy.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from vla_project.launcher.console import Console
from vla_project.launcher.processes import ProcessSpec, RestartPolicy
from vla_project.launcher.supervisor import Supervisor
from vla_project.launcher.var_dir import locked


async def supervise(table: list[ProcessSpec], lock: int, folder: Path) -> None:
    supervisor = Supervisor(
        Console([spec.name for spec in table]), environment=os.environ, folder=folder, inherited=lock
    )
    asked_to_stop = asyncio.Event()

    def on_signal() -> None:
        supervisor.hurry() if asked_to_stop.is_set() else asked_to_stop.set()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_signal)
    ready = asyncio.Event()
    for spec in table:
        supervisor.start(spec, after=ready if spec.after_ready else None)
    ready.set()
    await asked_to_stop.wait()
    await supervisor.stop()


def main() -> None:
    table = [
        ProcessSpec(
            name=row["name"],
            argv=tuple(row["argv"]),
            stop_seconds=row.get("stop_seconds", 10.0),
            after_ready=row.get("after_ready", False),
            restart=RestartPolicy(**row.get("restart", {})),
        )
        for row in json.loads(Path(sys.argv[1]).read_text())
    ]
    folder = Path(os.environ["VAR_DIR"])
    with locked(folder) as lock:
        asyncio.run(supervise(table, lock, folder))


if __name__ == "__main__":
    main()
