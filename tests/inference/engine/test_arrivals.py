from __future__ import annotations

import pytest

from inference.engine.arrivals import Arrivals, BatchCost


def trained(robots: int, *, gap: float, base: float = 0.020, per_item: float = 0.001, rounds: int = 30) -> Arrivals:
    """Arrivals that have seen ``robots`` ask again ``gap`` seconds after each answer, in alternating batch sizes."""
    arrivals = Arrivals()
    now = 0.0
    for turn in range(rounds):
        size = robots if turn % 2 else max(1, robots // 2)
        arrivals.cost.observe(size, base + per_item * size)
        arrivals.answered(range(robots), now)
        for robot in range(robots):
            arrivals.arrived(robot, now + gap)
        now += 0.1
    return arrivals


def test_the_cost_of_a_batch_is_learnt_as_a_base_and_a_share_for_each_item() -> None:
    cost = BatchCost()
    for size in (1, 4, 8, 16, 2, 32):
        cost.observe(size, 0.020 + 0.001 * size)
    assert cost.predict(64) == pytest.approx(0.084, rel=0.01)


def test_a_robot_alone_waits_for_nobody() -> None:
    arrivals = trained(1, gap=0.003)
    assert arrivals.wait(1, room=31, now=100.0) == 0.0


def test_robots_about_to_return_are_waited_for() -> None:
    arrivals = trained(8, gap=0.003)
    arrivals.answered(range(8), 100.0)
    arrivals.arrived(0, 100.002)
    wait = arrivals.wait(1, room=31, now=100.002)
    assert 0.0 < wait < 0.006


def test_robots_at_a_slow_pace_of_their_own_are_not_waited_for() -> None:
    arrivals = trained(8, gap=0.080)
    arrivals.answered(range(8), 100.0)
    arrivals.arrived(0, 100.075)
    assert arrivals.wait(1, room=31, now=100.075) == 0.0


def test_groups_that_take_turns_are_left_alone_where_all_at_once_would_leave_the_model_idle() -> None:
    """32 that need 20 ms to come back: two groups of 16 take turns in 72 ms, one of 32 in 52 + 20 ms and a little."""
    arrivals = trained(32, gap=0.0195)
    for _ in range(40):  # half of them come back as late as all of them
        arrivals._return.observe(16, 0.021)
        arrivals._return.observe(32, 0.022)
    arrivals.answered(range(16), 100.0)
    assert arrivals.wait(16, room=48, now=100.0) == 0.0
    assert arrivals.wait(9, room=48, now=100.0) > 0.0


def test_a_robot_that_is_late_is_waited_for_longer_the_next_time() -> None:
    arrivals = trained(2, gap=0.003)
    for turn in range(20):
        arrivals.answered([1], 100.0 + turn)
        arrivals.wait(1, room=31, now=100.009 + turn)  # after it was due
        arrivals.arrived(1, 100.010 + turn)
    arrivals.answered([1], 130.0)
    assert arrivals.wait(1, room=31, now=130.004) > 0.004


def test_a_robot_that_does_not_come_as_expected_is_soon_no_longer_waited_for() -> None:
    arrivals = trained(2, gap=0.003)
    for turn in range(3):
        arrivals.answered([1], 100.0 + turn)
        assert arrivals.wait(1, room=31, now=100.5 + turn) == 0.0
    arrivals.answered([1], 110.0)
    assert arrivals.wait(1, room=31, now=110.001) == 0.0


def test_a_full_batch_waits_for_nobody() -> None:
    arrivals = trained(8, gap=0.003)
    arrivals.answered(range(8), 100.0)
    assert arrivals.wait(4, room=0, now=100.0) == 0.0


def test_no_wait_pays_when_each_item_costs_as_much_as_a_batch() -> None:
    arrivals = trained(8, gap=0.010, base=0.0, per_item=0.005)
    arrivals.answered(range(8), 100.0)
    assert arrivals.wait(4, room=31, now=100.0) == 0.0
