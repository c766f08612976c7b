"""The table of processes that make up the running system, in the order in which they start.

They are stopped in the opposite order: first those who ask, then those who answer, then what they work on.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vla_project.launcher.identity import Identity
from vla_project.launcher.service import EmbeddedService


@dataclass(frozen=True)
class RestartPolicy:
    """When a process that ended is started again; all times in seconds.

    After ``first_delay``, doubled at each death up to ``longest_delay``. One that ``deaths`` times in a row did not
    live for ``settled_after`` is said to keep dying, and is tried every ``resting_delay``.
    """

    first_delay: float = 0.5
    longest_delay: float = 10.0
    deaths: int = 5
    settled_after: float = 60.0
    resting_delay: float = 30.0

    def delay(self, short_lives: int) -> float:
        """The pause before the next start, after so many short lives in a row (at least one)."""
        if short_lives >= self.deaths:
            return self.resting_delay
        return min(self.first_delay * 2.0 ** (short_lives - 1), self.longest_delay)


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep running.

    :param environment: variables over those of the launcher
    :param after_ready: started once `/readyz` has answered 200, so as not to take the processor from those it waits for
    :param identity: the user to run as, where that is not ours
    :param log_file: takes its output instead of the terminal
    """

    name: str
    argv: tuple[str, ...]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)
    after_ready: bool = False
    identity: Identity | None = None
    log_file: Path | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)


def service_process(name: str, service: EmbeddedService) -> ProcessSpec:
    """How to keep an embedded service running that has been prepared."""
    return ProcessSpec(
        name=name,
        argv=tuple(service.argv()),
        stop_signal=service.stop_signal,
        stop_seconds=service.stop_seconds,
        identity=service.identity,
        log_file=service.log_file,
        restart=RestartPolicy(first_delay=0.1),  # everything else waits for it
    )


_CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "vla_project")
# What may take its time yields the processor to what robots wait for.
_YIELDING = ("nice", "-n", "10")
# Of root Celery says so at length, at every start. The launcher runs as root in containers and on build machines.
_AS_ROOT = {"PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges"}


def _worker(
    name: str, *options: str, stop_seconds: float, after_ready: bool = False, yielding: bool = False
) -> ProcessSpec:
    # Gossip and mingle are talk between workers, a second of it at each start, of which we use nothing.
    common = ("worker", "-n", f"{name}@%h", "--loglevel", "WARNING", "--without-gossip", "--without-mingle")
    return ProcessSpec(
        name=name,
        argv=(*(_YIELDING if yielding else ()), *_CELERY, *common, "-Q", name, *options),
        environment=_AS_ROOT,
        stop_seconds=stop_seconds,
        after_ready=after_ready,
    )


def system_processes(*, demo: bool, beat_schedule: str) -> tuple[ProcessSpec, ...]:
    """Everything but the services.

    :param demo: whether the demo robot drives
    :param beat_schedule: the file in which beat notes what it has sent
    """
    processes = (
        _worker(
            "pipeline", "--pool", "prefork", "--concurrency", "2", stop_seconds=30.0, after_ready=True, yielding=True
        ),
        _worker("recorder", "--pool", "threads", "--concurrency", "2", stop_seconds=20.0),
        _worker("inference", "--pool", "threads", "--concurrency", "2", stop_seconds=20.0),
        ProcessSpec(name="web", argv=(sys.executable, "-m", "vla_project.server")),
        ProcessSpec(
            name="beat",
            argv=(*_CELERY, "beat", "--loglevel", "WARNING", "--schedule", beat_schedule, "--pidfile", ""),
            after_ready=True,
        ),
        ProcessSpec(name="robot", argv=(sys.executable, "manage.py", "demo_robot"), after_ready=True),
    )
    return tuple(process for process in processes if demo or process.name != "robot")
