"""OpenVLA's arithmetic: token to bin, bin to unit. Expected numbers are worked out by hand from its paper and code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inference.exceptions import PolicyLoadError
from inference.policies.vision_language.action_tokens import ActionStatistics, ActionTokens

OPENVLA = ActionTokens(vocabulary=32000)
KITCHEN = {"action": {"q01": [-2.0, 0.0], "q99": [2.0, 1.0], "mask": [True, False]}}


def test_the_last_word_is_the_lowest_bin_and_each_word_before_it_one_bin_higher() -> None:
    width = 2 / 255

    found = OPENVLA.normalised(np.array([31999, 31998, 31872]))

    np.testing.assert_allclose(found, [-1 + width / 2, -1 + 1.5 * width, 0.0], atol=1e-12)


def test_the_256_words_share_255_centres_so_the_first_two_are_one() -> None:
    found = OPENVLA.normalised(np.arange(OPENVLA.first, 32000))

    assert OPENVLA.first == 31744
    assert found[0] == found[1] == pytest.approx(1 - 1 / 255)
    assert (np.diff(found[1:]) < 0).all()


def test_statistics_turn_bins_into_units_where_the_mask_says_so() -> None:
    statistics = ActionStatistics.choose({"kitchen": KITCHEN}, None)

    found = statistics.in_units(np.array([[-1.0, -1.0], [0.0, 0.5], [1.0, 1.0]]))

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[-2.0, -1.0], [0.0, 0.5], [2.0, 1.0]])


def test_without_a_mask_everything_is_scaled() -> None:
    statistics = ActionStatistics.choose({"a": {"action": {"q01": [0.0], "q99": [10.0]}}}, "a")

    assert statistics.in_units(np.array([[0.5]])) == 7.5


@pytest.mark.parametrize(
    ("statistics", "key", "message"),
    [
        ({}, None, "has no statistics"),
        ({"a": KITCHEN, "b": KITCHEN}, None, "give 'unnorm_key' as one of a, b"),
        ({"a": KITCHEN}, "c", "no statistics of a dataset 'c'. It knows a"),
        ({"a": {"action": {"q01": [0.0]}}}, None, "lack q01 and q99"),
        ({"a": None}, None, "lack q01 and q99"),
        ({"a": {"action": {"q01": [0.0], "q99": [1.0, 2.0]}}}, None, "not of one length"),
        ({"a": {"action": {"q01": [2.0], "q99": [1.0]}}}, None, "hold no range"),
        ({"a": {"action": {"q01": [float("nan")], "q99": [1.0]}}}, None, "hold no range"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_statistics_that_do_not_fit_are_explained(statistics: dict[str, Any], key: str | None, message: str) -> None:
    with pytest.raises(PolicyLoadError, match=message):
        ActionStatistics.choose(statistics, key)
