"""Pytest plug-in: a PostgreSQL and a Redis of this session's own, started before Django reads its settings.

``addopts`` loads it with ``-p tests.services``. Sessions do not disturb each other: each keeps its services under
``var/test/<pid>`` and removes them at its end. Workers of pytest-xdist share the controller's PostgreSQL, where
pytest-django gives each a database of its own, and start a Redis each, because publish/subscribe knows no databases.
Where DATABASE_URL or REDIS_URL is set, that server is used instead.

What takes long and comes out the same each time is kept between sessions, until what it was made of changes: a cluster
with a migrated database, which the tests' databases are copies of, and the bytecode of the tests' rewritten assertions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

# The launcher's package imports the Celery application, which would choose the local settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "vla_project.settings.test"

from vla_project.launcher import EmbeddedPostgres, EmbeddedRedis
from vla_project.launcher.ports import free_port

# Where the environment says to write no bytecode, every session would compile and rewrite each module of the tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PROJECT = Path(__file__).resolve().parent.parent
SESSIONS = PROJECT / "var" / "test"
# Test databases die with the session: nothing needs to reach the disk.
SPEED = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "jit": "off",
    "log_statement": "none",
}
TEMPLATE = "migrated"


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Start the services; as a wrapper this comes before pytest-django, which loads the settings."""
    folder = SESSIONS / str(os.getpid())
    _remove_folders_of_dead_sessions()
    folder.mkdir(parents=True)
    early_config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if "DATABASE_URL" not in os.environ:
        cluster = _migrated_cluster(folder)
        subprocess.run(["cp", "-a", cluster, folder / "postgres"], check=True)  # keeps the owner, unlike copytree
        postgres = EmbeddedPostgres(folder / "postgres", port=free_port(), settings=SPEED)
        _start(postgres.start, postgres.stop, early_config)
        os.environ["DATABASE_URL"] = postgres.url
        os.environ["TEST_DATABASE_TEMPLATE"] = TEMPLATE
    if "REDIS_URL" not in os.environ or is_worker:
        redis = EmbeddedRedis(folder / "redis", port=free_port())
        _start(redis.start, redis.stop, early_config)
        os.environ["REDIS_URL"] = redis.url
    var_dir = folder / "var"
    (var_dir / "static").mkdir(parents=True)  # WhiteNoise warns, for every client, where there is none
    os.environ["VAR_DIR"] = str(var_dir)
    return (yield)


def _start(start: Callable[[], None], stop: Callable[[], None], config: pytest.Config) -> None:
    config.add_cleanup(stop)  # before starting, so that a failure half-way is cleaned up too
    start()


def _migrated_cluster(folder: Path) -> Path:
    """A stopped cluster whose database ``TEMPLATE`` has every migration; made in ``folder`` where there is none yet."""
    kept = SESSIONS / f"migrated-{_what_a_cluster_is_made_of()}"
    if kept.exists():
        return kept
    made = folder / "unfinished"
    with EmbeddedPostgres(made, port=free_port(), settings=SPEED) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        url = postgres.url.rpartition("/")[0] + f"/{TEMPLATE}"
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity=0"],
            cwd=PROJECT,
            env={**os.environ, "DATABASE_URL": url, "VAR_DIR": str(folder / "migrating")},
            check=True,
        )
    for earlier in SESSIONS.glob("migrated-*"):
        if earlier != kept:
            shutil.rmtree(earlier, ignore_errors=True)
    with suppress(OSError):  # another session made the same meanwhile
        made.rename(kept)
    return kept


def _what_a_cluster_is_made_of() -> str:
    """Changes with the migrations, with the versions that they and PostgreSQL have, and with how it is set up."""
    sources = [PROJECT / "pyproject.toml", PROJECT / "vla_project/launcher/postgres.py"]
    sources += sorted(PROJECT.glob("*/migrations/*.py"))
    digest = hashlib.sha256(sys.version.encode())
    for source in sources:
        digest.update(f"{source.relative_to(PROJECT)}\0".encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _remove_folders_of_dead_sessions() -> None:
    for folder in SESSIONS.glob("*"):
        if folder.name.isdigit() and not Path("/proc", folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)
