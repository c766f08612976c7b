"""Pytest plug-in: a PostgreSQL and a Redis of this session's own, started before Django reads its settings.

``addopts`` loads it with ``-p tests.services``. Sessions do not disturb each other: each keeps its services under
``var/test/<pid>`` and removes them at its end. Workers of pytest-xdist share the controller's PostgreSQL, where
pytest-django gives each a database of its own, and start a Redis each, because publish/subscribe knows no databases.
Where DATABASE_URL or REDIS_URL is set, that server is used instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

# The launcher's package imports the Celery application, which would choose the local settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "vla_project.settings.test"

from vla_project.launcher import EmbeddedPostgres, EmbeddedRedis
from vla_project.launcher.ports import free_port

SESSIONS = Path(__file__).resolve().parent.parent / "var" / "test"
# Test databases die with the session: nothing needs to reach the disk.
SPEED = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "log_statement": "none"}


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Start the services; as a wrapper this comes before pytest-django, which loads the settings."""
    folder = SESSIONS / str(os.getpid())
    _remove_folders_of_dead_sessions()
    early_config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if "DATABASE_URL" not in os.environ:
        postgres = EmbeddedPostgres(folder / "postgres", port=free_port(), settings=SPEED)
        _start(postgres.start, postgres.stop, early_config)
        os.environ["DATABASE_URL"] = postgres.url
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


def _remove_folders_of_dead_sessions() -> None:
    for folder in SESSIONS.glob("*"):
        if folder.name.isdigit() and not Path("/proc", folder.name).exists():
            shutil.rmtree(folder, ignore_errors=True)
