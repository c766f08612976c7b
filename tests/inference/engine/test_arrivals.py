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
        for robot in range(robots):
            arrivals.answered(robot, now)
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
    for robot in range(8):
        arrivals.answered(robot, 100.0)
    arrivals.arrived(0, 100.002)
    wait = arrivals.wait(1, room=31, now=100.002)
    assert 0.0 < wait < 0.006


def test_robots_at_a_slow_pace_of_their_own_are_not_waited_for() -> None:
    arrivals = trained(8, gap=0.080)
    for robot in range(8):
        arrivals.answered(robot, 100.0)
    arrivals.arrived(0, 100.075)
    assert arrivals.wait(1, room=31, now=100.075) == 0.0


def test_a_robot_that_does_not_come_as_expected_is_soon_no_longer_waited_for() -> None:
    arrivals = trained(2, gap=0.003)
    for turn in range(3):
        arrivals.answered(1, 100.0 + turn)
        assert arrivals.wait(1, room=31, now=100.5 + turn) == 0.0
    arrivals.answered(1, 110.0)
    assert arrivals.wait(1, room=31, now=110.001) == 0.0


def test_a_full_batch_waits_for_nobody() -> None:
    arrivals = trained(8, gap=0.003)
    for robot in range(8):
        arrivals.answered(robot, 100.0)
    assert arrivals.wait(4, room=0, now=100.0) == 0.0


def test_no_wait_pays_when_each_item_costs_as_much_as_a_batch() -> None:
    arrivals = trained(8, gap=0.010, base=0.0, per_item=0.005)
    for robot in range(8):
        arrivals.answered(robot, 100.0)
    assert arrivals.wait(4, room=31, now=100.0) == 0.0
