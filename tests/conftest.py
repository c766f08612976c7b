"""Fixtures that every test may use. PostgreSQL and Redis come from tests/services.py."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from django.core.management.commands import flush
from django.db import IntegrityError, OperationalError, connection
from django.db.backends.postgresql.operations import DatabaseOperations
from hypothesis import HealthCheck, settings
from rest_framework.test import APIClient

from accounts import credentials
from accounts.models import User
from collections_app import snapshots
from core.redis import engine_redis

# Rows that migrations made and no test may lose.
_KEPT_TABLES = {"rate_limit_tiers", "django_content_type", "auth_permission"}

# A busy machine is no fault of the code: no example is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not look at all of it again and again."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """pytest-django's: make the tests' database a copy of the migrated one that tests/services.py keeps."""
    connection.settings_dict["TEST"]["TEMPLATE"] = os.environ.get("TEST_DATABASE_TEMPLATE")


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """pytest-django's: the tests' database goes with its cluster, if that is the one of tests/services.py."""
    return "TEST_DATABASE_TEMPLATE" in os.environ


@pytest.fixture(autouse=True, scope="session")
def _flush_what_tests_made() -> Iterator[None]:
    """Let transactional tests clean up: past the audit trail's guard, and without the rows of migrations.

    Rows are deleted, not truncated: emptying a few rows costs a hundredth of giving a hundred tables new files.
    """

    @cache
    def deletes() -> list[str]:
        guard = "ALTER TABLE audit_logs %s TRIGGER audit_log_no_change"
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        plain = [f'DELETE FROM "{table}"' for table in tables if table not in {*_KEPT_TABLES, "audit_logs"}]
        return [
            guard % "DISABLE",
            "DELETE FROM audit_logs",
            guard % "ENABLE",
            "; ".join(plain),  # foreign keys are checked at the end of the transaction
            "DELETE FROM rate_limit_tiers WHERE name NOT IN ('standard', 'high', 'unlimited')",
        ]

    once = DatabaseOperations.execute_sql_flush

    def again_after_a_request(operations: DatabaseOperations, sql_list: list[str]) -> None:
        """A page that was just closed may have one under way: it locks the same rows in another order, or adds some."""
        for _ in range(3):
            with suppress(OperationalError, IntegrityError):
                return once(operations, sql_list)
        return once(operations, sql_list)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", lambda *_args, **_kwargs: deletes())
        patch.setattr(DatabaseOperations, "execute_sql_flush", again_after_a_request)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_args, **_kwargs: None)
        yield


@pytest.fixture(autouse=True)
def _fresh_redis() -> Iterator[None]:
    """Each test begins with an empty engine database and empty snapshots."""
    yield
    engine_redis().flushdb()
    snapshots._local.clear()
    credentials._local.clear()
    credentials._proofs.clear()


@pytest.fixture
def api() -> Callable[[Any], APIClient]:
    """A client with the credentials of a user (session, CSRF not enforced), of an API key, or of nobody."""

    def client(principal: Any = None) -> APIClient:
        made = APIClient()
        if isinstance(principal, User):
            made.force_login(principal)
        elif principal is not None:
            made.credentials(HTTP_AUTHORIZATION=f"Api-Key {principal.token}")
        return made

    return client
