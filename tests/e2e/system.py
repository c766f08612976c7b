"""The whole system, as `make run` starts it, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.inference.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
# What is in their command lines.
ROBOT = r"manage\.py demo_robot"
PIPELINE = "-Q pipeline"
BEAT = " beat "


@dataclass
class RunningSystem:
    """A launcher and all of its processes."""

    var_dir: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)
    log: Path = field(init=False)

    def start(self) -> None:
        """Start, and return when ``/readyz`` says ready."""
        self.log = self.var_dir.with_suffix(".log")
        unset = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "API_KEY_PEPPER", "DJANGO_SETTINGS_MODULE")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in unset},
            "VAR_DIR": str(self.var_dir),
            "PORT": str(self.port),
            "DEMO": "1",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vla_project.launcher", "run"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(self.is_ready, seconds=120)
        self.demo: dict[str, Any] = json.loads((self.var_dir / "demo.json").read_text())

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        try:
            return bool(self.get("/readyz").status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        return urllib.request.urlopen(urllib.request.Request(self.base_url + path, headers=headers or {}), timeout=5)

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path, {"Authorization": f"Api-Key {self.demo['api_key']}"}).read())

    def manage(self, *arguments: str) -> str:
        """What ``manage.py`` beside the running system prints."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    @contextmanager
    def resting(self, *patterns: str) -> Iterator[None]:
        """Descendants whose command line matches hold still, and leave their share of the processor to others."""
        pids = self.pids("|".join(patterns))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def database(self) -> psycopg.Connection[Any]:
        """A connection to its PostgreSQL."""
        return psycopg.connect(self._run_env("DATABASE_URL"), autocommit=True)

    def pids(self, pattern: str) -> list[int]:
        """The launcher's descendants whose command line matches ``pattern``."""
        parents = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
        found = []
        for pid in parents:
            ancestor: int | None = pid
            while ancestor and ancestor != self.process.pid:
                ancestor = parents.get(ancestor)
            if ancestor != self.process.pid or pid == self.process.pid:
                continue
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if re.search(pattern, command):
                found.append(pid)
        return sorted(found)

    def _run_env(self, name: str) -> str:
        lines = (self.var_dir / "run.env").read_text().splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        return values[name].strip("'\"")
