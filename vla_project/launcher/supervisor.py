"""Keeps processes running: output with a name on each line, restarts with growing pauses, a stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from vla_project.launcher.console import Console
from vla_project.launcher.exceptions import LauncherError
from vla_project.launcher.identity import popen_options
from vla_project.launcher.processes import ProcessSpec

_REMEMBERED_LINES = 20
_LONGEST_LINE = 16_384


class Supervisor:
    """Starts processes and keeps them running until :meth:`stop`. Lives in one event loop, on the main thread.

    The main thread, because Linux sends a child its death signal when the thread that started it ends.

    :param environment: the variables of every process; may be added to between starts
    :param folder: their working folder
    :param inherited: a descriptor that all of them keep open (the lock of VAR_DIR)
    """

    def __init__(self, console: Console, *, environment: Mapping[str, str], folder: Path, inherited: int) -> None:
        self.console = console
        self.environment = dict(environment)
        self.folder = folder
        self.inherited = inherited
        self._kept: list[_KeptProcess] = []
        self._hurry = asyncio.Event()

    def start(self, spec: ProcessSpec, *, after: asyncio.Event | None = None) -> None:
        """Run ``spec`` and keep it running; returns at once.

        :param after: wait for this first; its place in the order of stopping is that of this call all the same
        """
        kept = _KeptProcess(spec, self)
        kept.task = asyncio.create_task(kept.keep_running(after), name=spec.name)
        self._kept.append(kept)

    async def run_to_end(self, spec: ProcessSpec, *, quiet: bool = False) -> None:
        """Run ``spec`` once.

        :param quiet: show what it wrote only if it fails
        :raises LauncherError: its exit status is not 0
        """
        once = _KeptProcess(spec, self, quiet=quiet)
        once.task = asyncio.create_task(once.run(), name=spec.name)
        self._kept.append(once)
        status = await asyncio.shield(once.task)  # if we are cancelled, stop() ends it properly
        self._kept.remove(once)
        if status != 0:
            raise LauncherError("\n".join([f"{spec.name} failed: {describe(status)}.", *(once.lines if quiet else [])]))

    def hurry(self) -> None:
        """Make :meth:`stop` kill what it would wait for."""
        self._hurry.set()

    async def stop(self) -> None:
        """Stop all, last started first; each gets its ``stop_seconds``, then is killed."""
        while self._kept:
            await self._kept.pop().stop(self._hurry)


class _KeptProcess:
    """One process, through all its lives."""

    def __init__(self, spec: ProcessSpec, supervisor: Supervisor, *, quiet: bool = False) -> None:
        self.lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self.task: asyncio.Task[int] | None = None
        self._spec = spec
        self._supervisor = supervisor
        self._console = supervisor.console
        self._quiet = quiet
        self._process: asyncio.subprocess.Process | None = None
        self._short_lives = 0
        self._is_stopping = False

    async def keep_running(self, after: asyncio.Event | None) -> int:
        if after is not None:
            await after.wait()
        while True:
            born = time.monotonic()
            status = await self.run()
            if self._is_stopping:
                return status
            settled = time.monotonic() - born >= self._spec.restart.settled_after
            self._short_lives = 1 if settled else self._short_lives + 1
            delay = self._spec.restart.delay(self._short_lives)
            self._report_death(status, delay)
            await asyncio.sleep(delay)

    async def run(self) -> int:
        """One life: start it, pass on what it writes, give its exit status (negative: the signal that ended it)."""
        # A pipe of our own: asyncio's wait() would also wait for grandchildren that hold the output open.
        reading, writing = os.pipe()
        output = asyncio.create_task(self._pass_on(reading))
        try:
            self._process = process = await self._spawn(writing)
        except OSError as error:
            self._hear(f"{self._spec.argv[0]}: {error.strerror}")
            return 127
        finally:
            os.close(writing)
        status = await process.wait()
        self._kill_group(process)  # what it left behind, such as the pool of a killed Celery worker
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(output, timeout=1.0)
        return status

    async def stop(self, hurry: asyncio.Event) -> None:
        """End it and do not start it again."""
        assert self.task is not None
        self._is_stopping = True
        process = self._process
        if process is None or process.returncode is not None:  # between two lives, or before the first
            self.task.cancel()
        else:
            process.send_signal(self._spec.stop_signal)
            impatience = asyncio.create_task(hurry.wait())
            await asyncio.wait(
                [self.task, impatience], timeout=self._spec.stop_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            impatience.cancel()
            if not self.task.done():
                self._console.complain(f"{self._spec.name} did not stop in time and is killed.")
                self._kill_group(process)
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    async def _spawn(self, output: int) -> asyncio.subprocess.Process:
        spec = self._spec
        return await asyncio.create_subprocess_exec(
            *spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PYTHONUNBUFFERED": "1", **self._supervisor.environment, **spec.environment},
            # A service's own user may not be allowed to enter our folder.
            cwd=self._supervisor.folder if spec.identity is None else "/",
            pass_fds=(self._supervisor.inherited,),
            **popen_options(spec.identity, spec.stop_signal),
        )

    async def _pass_on(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        rest = b""
        try:
            while chunk := await reader.read(_LONGEST_LINE):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    self._hear(line.decode(errors="replace").rstrip("\r"))
            if rest:
                self._hear(rest.decode(errors="replace"))
        finally:
            transport.close()

    def _hear(self, line: str) -> None:
        self.lines.append(line)
        if self._spec.log_file is not None:
            with self._spec.log_file.open("a") as file:
                file.write(line + "\n")
        elif not self._quiet:
            self._console.line(self._spec.name, line)

    def _report_death(self, status: int, delay: float) -> None:
        name, deaths = self._spec.name, self._spec.restart.deaths
        if self._short_lives == deaths:
            self._console.complain(f"{name} keeps dying ({deaths} times in a row): {describe(status)}. It last wrote:")
            for line in self.lines:
                self._console.line(name, line)
            self._console.complain(f"The rest goes on; {name} is tried again every {delay:g} s.")
        else:
            self._console.complain(f"{name} ended: {describe(status)}. Starting it again in {delay:g} s.")

    @staticmethod
    def _kill_group(process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def describe(status: int) -> str:
    """An exit status in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
