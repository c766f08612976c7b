"""The servers that are compared, each started alone on a free port and ended with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.collection import BASE_MS, PER_SAMPLE_MS
from vla_project.launcher.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "var" / "bench"
LITSERVE = ("litserve==0.2.19", "pillow==13.0.0", "numpy>=2.0,<2.3")
MAX_ROBOTS = 64
# Which process a command line is, for the table of costs.
_LABELS = (
    ("vla_project.server", "web"),
    ("-Q inference", "inference worker"),
    ("-Q recorder", "recorder"),
    ("valkey", "redis"),
    ("postgres", "postgres"),
)


@dataclass(frozen=True)
class Running:
    """A server that answers. ``process`` is the root of all its processes."""

    process: subprocess.Popen[bytes]
    port: int
    keys: tuple[str, ...] = ()
    environment: dict[str, str] | None = None


def label(command_line: str) -> str:
    """What a process of this system is; ``other`` for beat, the pipeline's workers and the launcher."""
    return next((name for part, name in _LABELS if part in command_line), "other")


@contextmanager
def this_system(**variables: str) -> Iterator[Running]:
    """The whole system as ``make run`` starts it, without demo content, with the benchmark's collection."""
    with tempfile.TemporaryDirectory(dir=BENCH, prefix="system.") as folder:
        Path(folder).chmod(0o755)  # as root the services run as somebody else
        port = free_port()
        unset = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "API_KEY_PEPPER", "DJANGO_SETTINGS_MODULE")
        environment = {
            **{name: value for name, value in os.environ.items() if name not in unset},
            "VAR_DIR": f"{folder}/var",
            "PORT": str(port),
            "DEMO": "0",
            **variables,
        }
        command = [sys.executable, "-m", "vla_project.launcher", "run"]
        with _started(command, environment=environment, log=Path(folder) / "log") as process:
            _until(process, f"http://127.0.0.1:{port}/healthz")
            made = subprocess.run(
                [sys.executable, "-m", "benchmarks.collection", str(MAX_ROBOTS)],
                cwd=ROOT,
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            )
            _until(process, f"http://127.0.0.1:{port}/readyz")
            yield Running(process, port, tuple(made.stdout.split()), environment)


@contextmanager
def openpi() -> Iterator[Running]:
    """openpi's server loop."""
    port = free_port()
    with _started([sys.executable, "-m", "benchmarks.openpi_server", str(port)]) as process:
        _until(process, f"http://127.0.0.1:{port}/healthz")
        yield Running(process, port)


@contextmanager
def litserve(*, batch_timeout: float) -> Iterator[Running]:
    """LitServe, in ``var/bench/venv``. ``batch_timeout`` is in seconds."""
    port = free_port()
    options = [str(value) for value in (port, BASE_MS, PER_SAMPLE_MS, batch_timeout)]
    with _started([str(_litserve_python()), "benchmarks/litserve_server.py", *options]) as process:
        _until(process, f"http://127.0.0.1:{port}/health")
        yield Running(process, port)


def _litserve_python() -> Path:
    python = BENCH / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(python.parent.parent, with_pip=True)
    if subprocess.run([python, "-c", "import litserve, PIL, numpy"], check=False, capture_output=True).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *LITSERVE], check=True)
    return python


@contextmanager
def _started(
    command: list[str], *, environment: dict[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` in a session of its own; ended as Ctrl-C does, and killed with all of its group after 30 s."""
    with (log or BENCH / "contender.log").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until_settled(running: Running, *, seconds: float = 30) -> None:
    """Return when what loads late has done so: in one second all processes together used a tenth of a core."""
    end = time.monotonic() + seconds
    used = sum(processes.cpu_seconds(running.process.pid, label).values())
    while time.monotonic() < end:
        time.sleep(1)
        before, used = used, sum(processes.cpu_seconds(running.process.pid, label).values())
        if used - before < 0.1:
            return


def _until(process: subprocess.Popen[bytes], url: str, *, seconds: float = 120) -> None:
    """Return when ``url`` answers 200. Raises ``RuntimeError`` when the process ends or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}.")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {seconds:g} s.")
