from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import TransactionTestCase

from accounts.choices import Role
from accounts.models import User
from collections_app.models import Collection
from tests.factories import CollectionFactory, InferenceResultFactory, MembershipFactory


@pytest.fixture(autouse=True, scope="session")
def _transactional_tests_may_empty_the_audit_trail() -> Iterator[None]:
    """Its trigger refuses TRUNCATE, which is how Django cleans up after a test that commits."""
    teardown = TransactionTestCase._fixture_teardown

    def without_triggers(case: TransactionTestCase) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE audit_logs DISABLE TRIGGER USER")
            try:
                teardown(case)
            finally:
                cursor.execute("ALTER TABLE audit_logs ENABLE TRIGGER USER")

    TransactionTestCase._fixture_teardown = without_triggers
    yield
    TransactionTestCase._fixture_teardown = teardown


@pytest.fixture
def collection(db: None) -> Collection:
    return CollectionFactory()


@pytest.fixture
def annotator(collection: Collection) -> User:
    return MembershipFactory(collection=collection, role=Role.ANNOTATOR).user


@pytest.fixture
def reviewer(collection: Collection) -> User:
    return MembershipFactory(collection=collection, role=Role.REVIEWER).user


@pytest.fixture
def viewer(collection: Collection) -> User:
    return MembershipFactory(collection=collection, role=Role.VIEWER).user


@pytest.fixture
def result(collection: Collection) -> Any:
    return InferenceResultFactory(collection=collection)


def chunk(value: float = 0.0, *, steps: int = 8) -> list[list[float]]:
    """A chunk inside the factory's limits, the same at every step."""
    return [[value, 0.0, 0.1, 0.0, 0.0, 0.0, 0.5] for _ in range(steps)]
