"""Readiness checks. Each app registers those of its own dependencies; the database, Redis and storage are here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from django.db import connection

from core import object_store
from core.redis import engine_redis

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CheckResult:
    name: str
    ok: bool
    detail: str = ""


_checks: dict[str, Callable[[], str]] = {}


def register(name: str, check: Callable[[], str]) -> None:
    """Add a check: a function that returns an empty string when well, what is wrong otherwise."""
    _checks[name] = check


def check_all() -> list[CheckResult]:
    """Run every check; one that raises is unwell, and its cause goes to the log, not to the caller."""
    results = []
    for name, check in _checks.items():
        try:
            detail = check()
        except Exception:
            logger.warning("readiness.failed", dependency=name, exc_info=True)
            detail = "does not answer"
        results.append(CheckResult(name, not detail, detail))
    return results


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return ""


def _redis() -> str:
    engine_redis().ping()
    return ""


def _storage() -> str:
    object_store.writable()
    return ""


register("database", _database)
register("redis", _redis)
register("storage", _storage)
