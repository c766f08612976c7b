from __future__ import annotations

from typing import Any

import pytest

from accounts.choices import Role
from accounts.models import User
from collections_app.models import Collection
from tests.factories import CollectionFactory, InferenceResultFactory, MembershipFactory


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
