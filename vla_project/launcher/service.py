"""What the embedded PostgreSQL and the embedded Redis have in common."""

from __future__ import annotations

import abc
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from vla_project.launcher.exceptions import ServiceFailedError
from vla_project.launcher.identity import Identity, popen_options, service_identity
from vla_project.launcher.private_file import write_private

START_SECONDS = 60.0
_POLL_SECONDS = 0.02


class EmbeddedService(abc.ABC):
    """A server that listens on 127.0.0.1 only and keeps everything it owns in one folder.

    The supervisor calls :meth:`prepare`, runs :meth:`argv` itself and asks :meth:`is_ready`. Tests and scripts call
    :meth:`start` and :meth:`stop`, or use it as a context manager.

    :param folder: its data and its password; created when absent. Where we are root, the service's user must be able
        to walk down to it (:meth:`Identity.can_enter`)
    :param port: a free TCP port
    """

    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    stop_seconds: ClassVar[float] = 20.0

    def __init__(self, folder: Path, *, port: int) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.identity: Identity | None = service_identity()
        self.log_file = self.folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where clients connect, password included. Known once :meth:`prepare` has run."""

    def prepare(self) -> None:
        """Make its folder and data if there are none, and begin a new log. Data that exists and is sound stays.

        :raises LauncherError: no program for this platform, or data of another version
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Closed to others; but where we are root, the service's own user must be able to walk through.
        self.folder.chmod(0o700 if self.identity is None else 0o711)
        self._prepare_data()
        write_private(self.log_file, "")

    @abc.abstractmethod
    def _prepare_data(self) -> None:
        """The part of :meth:`prepare` that differs."""

    @abc.abstractmethod
    def argv(self) -> list[str]:
        """The command line that runs the server in the foreground; holds no secret."""

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Whether a client can log in and gets an answer."""

    def start(self) -> None:
        """Prepare, run, and return when it answers.

        :raises ServiceFailedError: it ended, or was silent for ``START_SECONDS``; with its last lines
        """
        self.prepare()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                **popen_options(self.identity, self.stop_signal),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServiceFailedError(f"{self.title} did not start:\n{self._last_lines()}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop it as it likes to be stopped, or by force after ``stop_seconds``. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_lines(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])

    @property
    def _copies(self) -> Path:
        return self.folder.parent / "programs"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
