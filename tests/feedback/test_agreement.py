from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from feedback.agreement import interval, krippendorff_alpha, nominal, of_collection
from feedback.corrections import distance
from tests.factories import ActionSpaceFactory, FeedbackFactory, InferenceResultFactory, UserFactory
from tests.feedback.conftest import chunk

# Values that four annotators gave to units; NaN is none.
tables = st.lists(
    st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")]), min_size=4, max_size=4), min_size=2, max_size=30
)


@pytest.mark.parametrize(("level", "difference"), [("nominal", nominal), ("interval", interval)])
@given(table=tables)
def test_alpha_is_that_of_the_krippendorff_package(level: str, difference: object, table: list[list[float]]) -> None:
    units = [[value for value in unit if not np.isnan(value)] for unit in table]
    pairable = [value for unit in units if len(unit) > 1 for value in unit]
    ours = krippendorff_alpha(units, difference)  # type: ignore[arg-type]
    if len(set(pairable)) < 2:
        assert ours is None
        return
    theirs = krippendorff.alpha(reliability_data=np.array(table).T, level_of_measurement=level)
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_alpha_of_many_units_and_two_annotators_comes_close_to_cohens_kappa() -> None:
    generator = np.random.default_rng(7)
    first = generator.integers(0, 3, 4000)
    second = np.where(generator.random(4000) < 0.7, first, generator.integers(0, 3, 4000))
    alpha = krippendorff_alpha(list(zip(first.tolist(), second.tolist(), strict=True)), nominal)
    assert alpha == pytest.approx(cohen_kappa_score(first, second), abs=0.005)


def test_perfect_agreement_is_one_and_nothing_to_compare_is_none() -> None:
    assert krippendorff_alpha([["a", "a"], ["b", "b"]], nominal) == 1.0
    assert krippendorff_alpha([["a", "a"], ["a", "a"]], nominal) is None
    assert krippendorff_alpha([["a"], []], nominal) is None


@pytest.mark.django_db
def test_the_distance_of_chunks_is_the_mean_absolute_error_in_shares_of_the_ranges() -> None:
    space = ActionSpaceFactory()
    dimensions = list(space.dimensions.order_by("position"))
    generator = np.random.default_rng(3)
    first, second = generator.random((2, 8, 7))
    ranges = np.array([d.high - d.low for d in dimensions])
    expected = mean_absolute_error(first / ranges, second / ranges)
    assert distance(first.tolist(), second.tolist(), dimensions) == pytest.approx(expected)


@pytest.mark.django_db
def test_the_figures_of_a_collection_count_each_annotator_once_per_result(monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben = UserFactory(username="anna"), UserFactory(username="ben")
    result = InferenceResultFactory()
    same = InferenceResultFactory(collection=result.collection)
    InferenceResultFactory(collection=result.collection)
    for person, value in ((anna, 0.1), (ben, 0.2)):
        FeedbackFactory(
            inference_result=result,
            annotator=person,
            feedback_type="correction",
            verdict="correct",
            rating=None,
            human_correction=chunk(value),
        )
    for person, verdict, rating in ((anna, "accept", 5), (ben, "reject", 1)):
        FeedbackFactory(inference_result=same, annotator=person, verdict=verdict, rating=rating)
    figures = of_collection(result.collection)
    assert figures.results == 2
    assert figures.verdict_alpha == pytest.approx(
        krippendorff.alpha(value_counts=np.array([[2, 0, 0], [0, 1, 1]]), level_of_measurement="nominal")
    )
    assert dict(figures.dimensions)["x"] == pytest.approx(0.1)
    assert [(a.name, a.answers, a.with_others) for a in figures.annotators] == [("anna", 2, 0.5), ("ben", 2, 0.5)]
    monkeypatch.setattr("feedback.agreement.LATEST_ANSWERS", 2)
    assert of_collection(result.collection).results == 1
