"""Brings the system up, in this order: services, migrations, demo content, processes; and down again."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from vla_project.launcher.announcement import announcement
from vla_project.launcher.console import Console
from vla_project.launcher.environment import LaunchOptions
from vla_project.launcher.exceptions import LauncherError
from vla_project.launcher.identity import service_identity
from vla_project.launcher.ports import is_free, remembered_port
from vla_project.launcher.postgres import EmbeddedPostgres
from vla_project.launcher.processes import ProcessSpec, service_process, system_processes
from vla_project.launcher.readiness import readiness, until_answering, until_ready
from vla_project.launcher.redis import EmbeddedRedis
from vla_project.launcher.run_env import write_run_env
from vla_project.launcher.service import EmbeddedService
from vla_project.launcher.supervisor import Supervisor
from vla_project.launcher.var_dir import locked, services_folder

# When the system is not ready by then, we say what is missing and start the rest.
PATIENCE_SECONDS = 60.0


def run_system(options: LaunchOptions) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP.

    :raises LauncherError: it cannot run, or could not be brought up
    """
    processes = system_processes(demo=options.demo, beat_schedule=str(options.var_dir / "beat-schedule"))
    with locked(options.var_dir) as lock:
        if not is_free(options.port, options.host):
            raise LauncherError(
                f"Port {options.port} is in use by another program. Choose another: PORT={options.port + 1} make run"
            )
        asyncio.run(_Run(options, lock, processes=processes).until_stopped())


def run_services(options: LaunchOptions) -> None:
    """Run the embedded services alone until a signal; `manage.py` beside them then works.

    :raises LauncherError: as :func:`run_system`
    """
    with locked(options.var_dir) as lock:
        asyncio.run(_Run(options, lock, processes=()).until_stopped())


@dataclass
class _Run:
    options: LaunchOptions
    lock: int
    processes: tuple[ProcessSpec, ...]
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        names = ["postgres", "redis", "migrate", "demo", *(process.name for process in self.processes)]
        self.console = Console(names)
        self.supervisor = Supervisor(
            self.console, environment=self.options.variables, folder=self.options.project, inherited=self.lock
        )

    async def until_stopped(self) -> None:
        work = asyncio.create_task(self._bring_up_and_wait())
        signals_seen = 0

        def on_signal() -> None:
            nonlocal signals_seen
            signals_seen += 1
            if signals_seen == 1:
                self.console.say("Stopping. Once more, and it is at once.")
                work.cancel()
            else:
                self.supervisor.hurry()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)
        try:
            await work
        except asyncio.CancelledError:
            if not signals_seen:
                raise
        finally:
            await self.supervisor.stop()
        self.console.say("Stopped.")

    async def _bring_up_and_wait(self) -> None:
        self.supervisor.environment |= await self._start_services()
        if self.processes:
            await self._bring_up_processes()
        else:
            self.console.say(f"The services run; {self.options.var_dir / 'run.env'} has their addresses.")
        await asyncio.Event().wait()

    async def _start_services(self) -> dict[str, str]:
        """Start what no URL is given for; the variables with which everything finds it, also written to run.env."""
        options, var_dir = self.options, self.options.var_dir
        folder = services_folder(var_dir, service_identity())
        ports = var_dir / "ports.json"
        services: dict[str, EmbeddedService] = {}
        if not options.variables.get("DATABASE_URL"):
            services["DATABASE_URL"] = EmbeddedPostgres(folder / "postgres", port=remembered_port(ports, "postgres"))
        if not options.variables.get("REDIS_URL"):
            services["REDIS_URL"] = EmbeddedRedis(folder / "redis", port=remembered_port(ports, "redis"))
        for service in services.values():
            if not service.folder.exists():
                self.console.say(f"Creating {service.title} in {service.folder} …")
            await asyncio.to_thread(service.prepare)
            self.supervisor.start(service_process(service.folder.name, service))
        await asyncio.gather(*(until_answering(service) for service in services.values()))
        return write_run_env(options, {name: service.url for name, service in services.items()})

    async def _bring_up_processes(self) -> None:
        self.console.say("Preparing the database …")
        await self.supervisor.run_to_end(_manage("migrate", "migrate", "--noinput"), quiet=True)
        if self.options.demo:
            # Quietly: what it prints is said again when it can be tried.
            await self.supervisor.run_to_end(_manage("demo", "create_demo"), quiet=True)
        ready = asyncio.Event()
        for process in self.processes:
            self.supervisor.start(process, after=ready if process.after_ready else None)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await until_ready(self.options.base_url)
        except TimeoutError:
            detail = (await asyncio.to_thread(readiness, self.options.base_url)).detail
            self.console.complain(f"Not ready after {PATIENCE_SECONDS:g} s, and still trying. {detail}")
        ready.set()
        await until_ready(self.options.base_url)
        self.console.say(
            announcement(
                self.options.base_url, self.options.var_dir / "demo.json", seconds=time.monotonic() - self.started
            )
        )


def _manage(name: str, *arguments: str) -> ProcessSpec:
    return ProcessSpec(name=name, argv=(sys.executable, "manage.py", *arguments), stop_seconds=30.0)


def project_folder() -> Path:
    """The checkout this file belongs to."""
    return Path(__file__).resolve().parent.parent.parent
