"""What the comparison of two policy versions shows."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from collections_app.models import Collection
from inference.models import PolicyVersion
from tests.factories import (
    CollectionFactory,
    DeploymentFactory,
    EpisodeFactory,
    FeedbackFactory,
    InferenceResultFactory,
    MembershipFactory,
)
from vla_project.pages.comparison import Comparison, Measure, compare
from vla_project.pages.comparison_views import plot_of

pytestmark = pytest.mark.django_db

CHUNK = [[0.1] * 7 for _ in range(8)]
FURTHER = [[0.1 + 0.02] + [0.1] * 6 for _ in range(8)]


@pytest.fixture
def collection() -> Collection:
    return CollectionFactory()


@pytest.fixture
def versions(collection: Collection) -> tuple[PolicyVersion, PolicyVersion]:
    first, second = (DeploymentFactory(collection=collection).policy_version for _ in range(2))
    return first, second


def measured(found: Comparison, name: str) -> Measure:
    return next(measure for measure in found.measures if name in measure.name)


def results(version: PolicyVersion, collection: Collection, count: int, **values: Any) -> list[Any]:
    return [InferenceResultFactory(collection=collection, policy_version=version, **values) for _ in range(count)]


def test_the_slower_and_unsafer_version_is_told_as_worse(
    collection: Collection, versions: tuple[PolicyVersion, PolicyVersion]
) -> None:
    first, second = versions
    for number in range(12):
        results(first, collection, 1, inference_time_ms=20.0 + number % 3)
        results(
            second,
            collection,
            1,
            inference_time_ms=40.0 + number % 3,
            safety_verdict="clamped",
            safety_score=0.9,
            safety_violations=[{"step": 0, "dimension": "x", "rule": "position", "value": 2.0, "limit": 1.0}],
        )
    found = compare(collection, first, second)
    assert measured(found, "median").finding == "worse"
    broken = measured(found, "break a limit")
    assert broken.finding == "worse"
    assert broken.difference is not None
    assert broken.difference.value == 100.0
    assert broken.difference.low is not None
    assert 40 < broken.difference.low < 100  # twelve episodes are not certainty
    assert compare(collection, second, first).measures[0].finding == "better"


def test_a_shadow_is_compared_on_the_observations_that_both_saw(
    collection: Collection, versions: tuple[PolicyVersion, PolicyVersion]
) -> None:
    first, second = versions
    for heard in results(first, collection, 4, output_actions=CHUNK):
        results(second, collection, 1, request_id=heard.request_id, shadow=True, output_actions=FURTHER)
    results(first, collection, 3, output_actions=CHUNK)
    found = compare(collection, first, second)
    assert found.pairs == 4
    moved, *still = found.distances
    assert moved.absolute.value == pytest.approx(0.02)
    assert all(distance.absolute.value == pytest.approx(0) for distance in still)


def test_what_the_policy_proposed_is_compared_not_what_the_safety_check_made_of_it(
    collection: Collection, versions: tuple[PolicyVersion, PolicyVersion]
) -> None:
    first, second = versions
    heard = results(first, collection, 1, output_actions=[], proposed_actions=FURTHER, safety_verdict="rejected")[0]
    results(second, collection, 1, request_id=heard.request_id, shadow=True, output_actions=CHUNK)
    assert compare(collection, first, second).distances[0].absolute.value == pytest.approx(0.02)


def test_people_are_heard_of_each_version_and_of_no_other(
    collection: Collection, versions: tuple[PolicyVersion, PolicyVersion]
) -> None:
    first, second = versions
    for version, rating in ((first, 2), (second, 5)):
        for result in results(version, collection, 3):
            FeedbackFactory(inference_result=result, feedback_type="rating", rating=rating)
    for result in results(second, collection, 2):
        FeedbackFactory(inference_result=result, feedback_type="correction", rating=None, human_correction=CHUNK)
    found = compare(collection, first, second)
    ratings = measured(found, "rating")
    assert ratings.first is not None
    assert ratings.second is not None
    assert (ratings.first.value, ratings.second.value) == (2, 5)
    corrected = measured(found, "corrected")
    assert corrected.first is not None
    assert corrected.second is not None
    assert (corrected.first.value, corrected.second.value) == (0, 40)
    assert corrected.counts == (3, 5)


def test_an_outcome_belongs_to_the_version_that_drove_not_to_its_shadow(
    collection: Collection, versions: tuple[PolicyVersion, PolicyVersion]
) -> None:
    first, second = versions
    episode = EpisodeFactory(collection=collection, outcome="success")
    heard = InferenceResultFactory(collection=collection, policy_version=first, episode=episode, robot=episode.robot)
    InferenceResultFactory(
        collection=collection,
        policy_version=second,
        episode=episode,
        robot=episode.robot,
        shadow=True,
        request_id=heard.request_id,
    )
    assert measured(compare(collection, first, second), "succeeded").counts == (1, 0)


def test_the_page_needs_the_same_queries_however_many_results(
    collection: Collection,
    versions: tuple[PolicyVersion, PolicyVersion],
    client: Client,
    django_assert_max_num_queries: Any,
) -> None:
    client.force_login(MembershipFactory(collection=collection).user)
    first, second = versions
    results(first, collection, 5)
    results(second, collection, 5)
    query = {"a": str(first), "b": str(second)}
    with django_assert_max_num_queries(20):
        response = client.get(f"/collections/{collection.slug}/compare/", query)
    assert response.status_code == 200
    assert str(first) in response.content.decode()
    assert response.context["found"].first.version == first


def test_a_version_of_another_collection_is_not_there(
    collection: Collection, versions: tuple[PolicyVersion, PolicyVersion], client: Client
) -> None:
    client.force_login(MembershipFactory(collection=collection).user)
    foreign = DeploymentFactory().policy_version
    assert client.get(f"/collections/{collection.slug}/compare/", {"a": str(foreign)}).status_code == 404


def test_with_one_version_the_page_says_how_to_get_a_second(collection: Collection, client: Client) -> None:
    client.force_login(MembershipFactory(collection=collection).user)
    DeploymentFactory(collection=collection)
    response = client.get(f"/collections/{collection.slug}/compare/")
    assert response.status_code == 200
    assert "not two versions" in response.content.decode()


def test_the_plot_is_as_wide_on_either_side_of_zero() -> None:
    from vla_project.pages.intervals import Estimate

    measure = Measure("", "", 1, 1, None, None, Estimate(1.0, -1.0, 4.0), (1, 1), "")
    plot = plot_of(measure)
    assert plot is not None
    assert (plot.zero, plot.low, plot.value, plot.high) == (120, 92.0, 148.0, 232.0)
