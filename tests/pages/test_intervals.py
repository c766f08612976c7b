"""The intervals of the comparison: against published values, and their coverage where steps are not independent."""

from __future__ import annotations

import numpy as np
import pytest

from vla_project.pages import intervals
from vla_project.pages.intervals import Sample


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)]
)
def test_students_t_is_that_of_the_tables(freedom: int, expected: float) -> None:
    assert intervals.student(freedom) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [(81 / 263, 263, 0.2553, 0.3662), (0.0, 20, 0.0, 0.1611), (1 / 29, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombes_examples(share: float, count: int, low: float, high: float) -> None:
    found = intervals.wilson(share, count)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_difference_of_shares_is_that_of_newcombes_example() -> None:
    # 56/70 against 48/80: 0.0524 to 0.3339 (Newcombe 1998, table II, method 10).
    found = intervals.difference_of_shares(intervals.wilson(48 / 80, 80), intervals.wilson(56 / 70, 70))
    assert (found.low, found.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_welchs_interval_is_that_of_a_worked_example() -> None:
    first, second = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5]
    found = intervals.welch(first, second)
    assert found is not None
    assert found.value == pytest.approx(np.mean(second) - np.mean(first))
    # Its freedom of 7.64, rounded down to 7: scipy's t.ppf(0.975, 7) times the standard error is 4.3394.
    assert (found.low, found.high) == (
        pytest.approx(2.3667 - 4.3394, abs=1e-3),
        pytest.approx(2.3667 + 4.3394, abs=1e-3),
    )


def test_equal_ratings_do_not_claim_certainty() -> None:
    found = intervals.welch([4.0, 4.0], [5.0, 5.0])
    assert found is not None
    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_steps_of_one_episode_count_as_little_more_than_one() -> None:
    """Twenty episodes of fifty equal steps know what twenty steps know."""
    outcome = [float(episode % 2) for episode in range(20) for _ in range(50)]
    clustered = intervals.share(Sample(outcome, [episode for episode in range(20) for _ in range(50)]))
    independent = intervals.wilson(0.5, 19)
    assert clustered is not None
    assert clustered.low == pytest.approx(independent.low, abs=0.01)
    loose = intervals.share(Sample(outcome, range(1000)))
    assert loose is not None
    assert loose.high is not None
    assert clustered.high is not None
    assert clustered.high - clustered.value > 5 * (loose.high - loose.value)


def test_the_bootstrap_holds_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for seed in range(100):
        level = generator.normal(0, 1, 30)
        values = (level[:, None] + generator.normal(0, 0.2, (30, 10))).ravel()
        sample = Sample(values.tolist(), np.repeat(np.arange(30), 10).tolist(), seed=seed)
        found = intervals.bootstrapped(sample.mean(), episodes=sample.episodes)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert 85 <= covered <= 99


def test_a_quantile_is_that_of_all_steps_and_one_episode_has_no_interval() -> None:
    sample = Sample([float(n) for n in range(1, 101)], ["e"] * 100)
    found = intervals.bootstrapped(sample.quantile(0.95), episodes=sample.episodes)
    assert found == intervals.Estimate(95.0, None, None)
