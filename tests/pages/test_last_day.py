from __future__ import annotations

import pytest

from tests.factories import CollectionFactory, InferenceResultFactory
from vla_project.pages import selectors

pytestmark = pytest.mark.django_db


def test_an_hour_counts_all_of_its_results_and_knows_their_median() -> None:
    collection = CollectionFactory()
    for milliseconds in (10.0, 20.0, 30.0):
        InferenceResultFactory(collection=collection, total_ms=milliseconds)
    InferenceResultFactory(collection=collection, total_ms=40.0, safety_verdict="clamped", safety_score=0.5)
    InferenceResultFactory(total_ms=1000.0)  # another collection's

    running = selectors.last_day(collection)[-1]
    assert (running.passed, running.clamped, running.rejected) == (3, 1, 0)
    assert running.p50 == 25.0
