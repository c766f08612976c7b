from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from core import object_store
from tests.factories import CollectionFactory, InferenceResultFactory, MembershipFactory
from vla_project.pages import selectors

pytestmark = pytest.mark.django_db


def test_a_slot_counts_all_of_its_results_and_knows_their_median() -> None:
    collection = CollectionFactory()
    for milliseconds in (10.0, 20.0, 30.0):
        InferenceResultFactory(collection=collection, total_ms=milliseconds)
    InferenceResultFactory(collection=collection, total_ms=40.0, safety_verdict="clamped", safety_score=0.5)
    InferenceResultFactory(total_ms=1000.0)  # another collection's

    shown = selectors.recent(collection)
    assert shown.minutes == 5  # a first plot within minutes, not within hours
    running = shown.slots[-1]
    assert (running.passed, running.clamped, running.rejected) == (3, 1, 0)
    assert running.p50 == 25.0


@pytest.mark.parametrize(("age", "minutes"), [(30, 5), (150, 20), (9 * 60, 60), (30 * 60, 60)])
def test_slots_grow_with_the_age_of_the_days_first_result_and_hold_it(age: int, minutes: int) -> None:
    collection = CollectionFactory()
    InferenceResultFactory(collection=collection, created_at=timezone.now() - timedelta(minutes=age))
    shown = selectors.recent(collection)
    assert shown.minutes == minutes
    assert len(shown.slots) == 24
    assert sum(slot.passed for slot in shown.slots) == (0 if age > 24 * 60 else 1)


def test_home_shows_the_newest_episodes_that_its_reader_may_see_at_the_same_cost() -> None:
    member = MembershipFactory()
    client = Client()
    client.force_login(member.user)
    InferenceResultFactory()  # somebody else's
    counts = []
    for _ in range(2):
        newest = InferenceResultFactory(collection=member.collection, images={"base": "raw/x/base.jpg"}).episode
        InferenceResultFactory(collection=member.collection)
        cache.clear()
        with CaptureQueriesContext(connection) as queries:
            shown = client.get("/").context["latest"]
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert len(shown) == 4
    assert shown[1].episode == newest
    assert shown[1].picture == object_store.url("raw/x/base.jpg")
    assert not shown[0].picture
