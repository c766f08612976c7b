from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError

import pytest

from inference.engine.batcher import Batcher, BatcherClosedError, QueueFullError
from inference.exceptions import AcceleratorOutOfMemoryError, PolicyOutputError
from tests.inference.waiting import wait_until


class Model:
    """Doubles numbers; stands still while ``gate`` is closed, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.set()
        assert self.gate.wait(10)
        return [item * 2 for item in items]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model: Model) -> Iterator[Batcher[int, int]]:
    made = Batcher(model, max_batch=4, max_waiting=6)
    yield made
    model.gate.set()
    made.close(5)


def hold(model: Model, batcher: Batcher[int, int]) -> None:
    """Keep the model busy with one item."""
    model.gate.clear()
    model.entered.clear()
    batcher.submit(0)
    assert model.entered.wait(5)


def test_an_item_alone_is_run_at_once(batcher: Batcher[int, int]) -> None:
    batched = batcher.submit(21).result(5)
    assert batched.result == 42
    assert batched.batch_size == 1


def test_what_waited_while_the_model_was_busy_becomes_one_batch(model: Model, batcher: Batcher[int, int]) -> None:
    hold(model, batcher)
    futures = [batcher.submit(i) for i in (1, 2, 3)]
    model.gate.set()
    assert [future.result(5).result for future in futures] == [2, 4, 6]
    assert model.batches == [[0], [1, 2, 3]]


def test_a_batch_is_never_larger_than_allowed(model: Model, batcher: Batcher[int, int]) -> None:
    hold(model, batcher)
    futures = [batcher.submit(i) for i in range(1, 7)]
    model.gate.set()
    for future in futures:
        future.result(5)
    assert [len(batch) for batch in model.batches] == [1, 4, 2]


def test_a_full_queue_refuses_at_once(model: Model, batcher: Batcher[int, int]) -> None:
    hold(model, batcher)
    for i in range(6):
        batcher.submit(i)
    with pytest.raises(QueueFullError):
        batcher.submit(7)


def test_a_waiter_that_left_is_dropped_and_stops_nothing(model: Model, batcher: Batcher[int, int]) -> None:
    hold(model, batcher)
    left, stays = batcher.submit(1), batcher.submit(2)
    assert left.cancel()
    model.gate.set()
    assert stays.result(5).result == 4
    assert model.batches[1] == [2]
    assert batcher.submit(5).result(5).result == 10


def test_an_expired_item_is_cancelled_before_its_batch(model: Model) -> None:
    batcher = Batcher(model, max_batch=4, max_waiting=8, expired=lambda item: item < 0)
    hold(model, batcher)
    late, fresh = batcher.submit(-1), batcher.submit(1)
    model.gate.set()
    assert fresh.result(5).result == 2
    with pytest.raises(CancelledError):
        late.result(5)
    batcher.close(5)


def test_an_error_reaches_every_waiter_of_its_batch_and_no_other() -> None:
    gate, entered = threading.Event(), threading.Event()

    def run(items: Sequence[int]) -> list[int]:
        entered.set()
        gate.wait(10)
        if 13 in items:
            raise RuntimeError("unlucky")
        return list(items)

    batcher: Batcher[int, int] = Batcher(run, max_batch=2, max_waiting=8)
    first = batcher.submit(1)
    assert entered.wait(5)
    unlucky = [batcher.submit(13), batcher.submit(14)]
    after = batcher.submit(15)
    gate.set()
    assert first.result(5).result == 1
    for future in unlucky:
        with pytest.raises(RuntimeError, match="unlucky"):
            future.result(5)
    assert after.result(5).result == 15
    batcher.close(5)


def test_a_wrong_number_of_results_is_an_error_of_the_batch() -> None:
    batcher: Batcher[int, int] = Batcher(lambda items: [1, 2, 3], max_batch=4, max_waiting=8)
    with pytest.raises(PolicyOutputError, match="3 chunks for 1"):
        batcher.submit(1).result(5)
    batcher.close(5)


def test_a_batch_that_does_not_fit_is_split_until_it_does(model: Model) -> None:
    def run(items: Sequence[int]) -> list[int]:
        if len(items) > 2:
            raise AcceleratorOutOfMemoryError
        return model(items)

    gate, entered = threading.Event(), threading.Event()

    def gated(items: Sequence[int]) -> list[int]:
        if items == [0]:
            entered.set()
            gate.wait(10)
        return run(items)

    batcher: Batcher[int, int] = Batcher(gated, max_batch=8, max_waiting=16)
    batcher.submit(0)
    assert entered.wait(5)
    futures = [batcher.submit(i) for i in range(1, 6)]
    gate.set()
    assert [future.result(5).result for future in futures] == [2, 4, 6, 8, 10]
    assert max(len(batch) for batch in model.batches) == 2
    batcher.close(5)


def test_an_item_that_never_fits_fails_alone() -> None:
    def run(items: Sequence[int]) -> list[int]:
        if 9 in items:
            raise AcceleratorOutOfMemoryError("too large")
        return list(items)

    batcher: Batcher[int, int] = Batcher(run, max_batch=4, max_waiting=8)
    with pytest.raises(AcceleratorOutOfMemoryError):
        batcher.submit(9).result(5)
    assert batcher.submit(1).result(5).result == 1
    batcher.close(5)


def test_closing_drains_and_refuses_what_comes_after(model: Model) -> None:
    batcher = Batcher(model, max_batch=2, max_waiting=8)
    hold(model, batcher)
    futures = [batcher.submit(i) for i in (1, 2, 3)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    wait_until(lambda: batcher._closed)
    with pytest.raises(BatcherClosedError):
        batcher.submit(4)
    model.gate.set()
    closing.join(5)
    assert [future.result(0).result for future in futures] == [2, 4, 6]


def test_the_wait_for_room_ends_when_a_batch_is_taken(model: Model, batcher: Batcher[int, int]) -> None:
    hold(model, batcher)
    for i in range(4):
        batcher.submit(i)
    assert batcher.wait_for_room(0.01) == 0
    model.gate.set()
    assert batcher.wait_for_room(5) > 0
