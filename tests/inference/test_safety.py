from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inference.exceptions import PolicyOutputError
from inference.safety import SafetyChecker, SafetyVerdict


@dataclass(frozen=True)
class Limits:
    name: str
    low: float | None = None
    high: float | None = None
    max_step_change: float | None = None
    max_velocity: float | None = None
    workspace_state: str = ""
    workspace_low: float | None = None
    workspace_high: float | None = None


ARM = [
    Limits("x", -0.5, 0.5, max_step_change=0.1),
    Limits("y", None, 1.0, max_velocity=2.0),
    Limits("gripper", 0.0, 1.0),
]
RATE = 10.0


def checker(mode: str, dimensions: list[Limits] = ARM) -> SafetyChecker:
    return SafetyChecker(dimensions, control_rate_hz=RATE, mode=mode)


def chunk(*steps: list[float]) -> np.ndarray:
    return np.array([steps], dtype=np.float64)


def test_a_chunk_inside_all_limits_passes_unchanged() -> None:
    (verdict,) = checker("clamp").check(chunk([0.0, 0.0, 0.5], [0.05, 0.1, 1.0]))
    assert verdict.verdict == "pass"
    assert verdict.score == 1.0
    assert verdict.violations == []
    assert verdict.actions == [[0.0, 0.0, 0.5], [0.05, 0.1, 1.0]]


def test_a_value_above_its_limit_is_clamped_and_named_with_before_and_after() -> None:
    (verdict,) = checker("clamp").check(chunk([0.0, 0.0, 1.4]))
    assert verdict.verdict == "clamped"
    assert verdict.actions == [[0.0, 0.0, 1.0]]
    assert verdict.violations == [
        {"step": 0, "dimension": "gripper", "rule": "position", "value": 1.4, "limit": 1.0, "sent": 1.0}
    ]
    assert verdict.score == pytest.approx(2 / 3)


def test_rejection_sends_nothing_and_says_why() -> None:
    (verdict,) = checker("reject").check(chunk([0.0, 0.0, -0.5]))
    assert verdict.verdict == "rejected"
    assert verdict.actions == []
    assert verdict.violations[0]["limit"] == 0.0
    assert verdict.violations[0]["sent"] is None


def test_a_report_sends_the_chunk_as_it_is() -> None:
    (verdict,) = checker("report").check(chunk([0.9, 0.0, 0.5]))
    assert verdict.verdict == "pass"
    assert verdict.actions == [[0.9, 0.0, 0.5]]
    assert verdict.violations[0]["rule"] == "position"


def test_off_looks_at_nothing_but_finiteness() -> None:
    (verdict,) = checker("off").check(chunk([9.0, 9.0, 9.0]))
    assert (verdict.verdict, verdict.violations, verdict.actions) == ("pass", [], [[9.0, 9.0, 9.0]])


def test_a_jump_between_steps_breaks_the_step_rule() -> None:
    (verdict,) = checker("clamp").check(chunk([0.0, 0.0, 0.0], [0.3, 0.0, 0.0]))
    (violation,) = verdict.violations
    assert (violation["step"], violation["rule"], violation["limit"]) == (1, "step", 0.1)
    assert violation["value"] == pytest.approx(0.3)
    assert verdict.actions[1][0] == pytest.approx(0.1)


def test_a_change_too_fast_for_the_control_rate_breaks_the_velocity_rule() -> None:
    (verdict,) = checker("clamp").check(chunk([0.0, 0.0, 0.0], [0.0, 0.5, 0.0]))
    (violation,) = verdict.violations
    assert violation["rule"] == "velocity"
    assert violation["value"] == pytest.approx(5.0)
    assert violation["limit"] == 2.0
    assert verdict.actions[1][1] == pytest.approx(0.2)


def test_the_rounding_of_single_precision_is_moved_to_the_limit_and_no_violation() -> None:
    dimensions = [Limits("x", -0.05, 0.05)]
    (verdict,) = checker("reject", dimensions).check(np.array([[[np.float32(0.05)]]]))
    assert verdict.verdict == "pass"
    assert verdict.actions == [[0.05]]


def test_each_chunk_of_a_batch_has_its_own_verdict() -> None:
    batch = np.array([[[0.0, 0.0, 0.5]], [[0.0, 0.0, 2.0]]])
    first, second = checker("clamp").check(batch)
    assert (first.verdict, second.verdict) == ("pass", "clamped")


@pytest.mark.parametrize("mode", ["off", "report", "clamp", "reject"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_never_leaves_whatever_the_mode(mode: str, value: float) -> None:
    with pytest.raises(PolicyOutputError, match="finite"):
        checker(mode).check(chunk([0.0, value, 0.0]))


def test_a_chunk_of_the_wrong_number_of_dimensions_is_refused() -> None:
    with pytest.raises(PolicyOutputError, match="3 dimensions"):
        checker("off").check(np.zeros((1, 4, 2)))


HAND = [
    Limits("dx", -0.1, 0.1, workspace_state="x", workspace_low=0.0, workspace_high=0.5),
    Limits("gripper", 0.0, 1.0),
]


def at(x: float, *steps: list[float], mode: str = "clamp", dimensions: list[Limits] = HAND) -> SafetyVerdict:
    made = SafetyChecker(dimensions, control_rate_hz=RATE, mode=mode, state_names=["q", "x"])
    return made.check(chunk(*steps), np.array([[9.0, x]]))[0]


def test_a_displacement_that_leaves_the_workspace_stops_at_its_end() -> None:
    verdict = at(0.42, [0.05, 0.5], [0.05, 0.5], [0.05, 0.5])
    assert verdict.verdict == "clamped"
    assert [step[0] for step in verdict.actions] == pytest.approx([0.05, 0.03, 0.0])
    first, second = verdict.violations
    assert (first["step"], first["rule"], first["dimension"], first["limit"]) == (1, "workspace", "dx", 0.5)
    assert (first["value"], first["sent"]) == (pytest.approx(0.52), pytest.approx(0.5))
    assert second["value"] == pytest.approx(0.57)


def test_a_robot_outside_its_workspace_may_come_back_and_go_no_further() -> None:
    assert at(0.7, [-0.1, 0.5], [-0.1, 0.5]).verdict == "pass"
    out = at(0.7, [0.05, 0.5])
    assert (out.verdict, out.actions[0][0]) == ("clamped", 0.0)


def test_what_cannot_be_braked_before_the_wall_is_not_sent() -> None:
    slow = [Limits("dx", -0.1, 0.1, 0.01, None, "x", 0.0, 0.5), Limits("gripper", 0.0, 1.0)]
    verdict = at(0.42, [0.05, 0.5], [0.05, 0.5], [0.05, 0.5], dimensions=slow)
    assert (verdict.verdict, verdict.actions) == ("rejected", [])
    assert {violation["sent"] for violation in verdict.violations} == {None}


def test_the_workspace_is_reported_where_nothing_is_changed() -> None:
    verdict = at(0.49, [0.05, 0.5], mode="report")
    assert (verdict.verdict, verdict.violations[0]["rule"], verdict.actions) == ("pass", "workspace", [[0.05, 0.5]])


def test_a_change_is_told_as_it_was_and_as_it_was_sent() -> None:
    (verdict,) = checker("clamp").check(chunk([0.0, 0.0, 0.0], [0.0, 0.5, 0.0]))
    assert verdict.violations[0]["sent"] == pytest.approx(2.0)


limits = st.builds(
    lambda low, width, step, velocity: Limits("d", low, low + width, step, velocity),
    st.floats(-10, 10),
    st.floats(1e-3, 20),
    st.none() | st.floats(1e-3, 5),
    st.none() | st.floats(1e-2, 50),
)


@settings(max_examples=200)
@given(
    mode=st.sampled_from(["clamp", "reject"]),
    limit=limits,
    values=arrays.arrays(
        np.float64, st.tuples(st.integers(1, 4), st.integers(1, 10), st.just(1)), elements=st.floats(-1e6, 1e6)
    ),
)
def test_whatever_a_policy_returns_no_action_outside_the_limits_is_sent(
    mode: str, limit: Limits, values: np.ndarray
) -> None:
    for verdict in checker(mode, [limit]).check(values):
        sent = np.array(verdict.actions, dtype=np.float64).reshape(-1)
        assert limit.low is not None
        assert limit.high is not None
        assert ((sent >= limit.low) & (sent <= limit.high)).all()
        changes = np.abs(np.diff(sent))
        rounding = 1e-9 + 1e-12 * max(1.0, np.abs(sent).max(initial=0.0))
        if limit.max_step_change is not None:
            assert (changes <= limit.max_step_change + rounding).all()
        if limit.max_velocity is not None:
            assert (changes * RATE <= limit.max_velocity + rounding * RATE).all()
        if verdict.verdict == "rejected":
            assert not len(sent)
