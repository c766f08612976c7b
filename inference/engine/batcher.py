"""Dynamic batching: many waiters, one model, one thread.

The batcher takes what waits the moment the model is free. Its rules: the queue is bounded and a full one refuses at
once; a waiter that left is dropped before the batch runs and cannot stop the loop; the number of results is checked;
an error reaches every waiter of its batch and no other; a batch that does not fit into memory is split; ``close``
drains. Imports no Django and knows nothing of what the items are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from inference.engine.arrivals import Arrivals
from inference.exceptions import AcceleratorOutOfMemoryError, PolicyOutputError

Item = TypeVar("Item")
Result = TypeVar("Result")


class QueueFullError(Exception):
    """The batcher holds as many waiting items as it may."""


class BatcherClosedError(Exception):
    """The batcher takes no more items."""


@dataclass(frozen=True, slots=True)
class Batched(Generic[Result]):
    """One item's result; ``started_at`` and ``seconds`` are its batch's, on the monotonic clock."""

    result: Result
    started_at: float
    seconds: float
    batch_size: int


class Batcher(Generic[Item, Result]):
    """Runs ``run(items)`` on its own thread over batches of what was submitted.

    ``expired(item)`` is asked just before a batch starts: an item it names is cancelled, not run.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_batch: int,
        max_waiting: int,
        name: str = "batcher",
        expired: Callable[[Item], bool] | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._expired = expired
        self._arrivals = arrivals
        self._waiting: deque[tuple[Item, Hashable, Future[Batched[Result]]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._busy = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item, *, source: Hashable = None) -> Future[Batched[Result]]:
        """Queue ``item``. ``source`` names who asks, for the prediction of arrivals.

        Raises ``QueueFullError`` or ``BatcherClosedError`` at once.
        """
        future: Future[Batched[Result]] = Future()
        with self._changed:
            if self._closed:
                raise BatcherClosedError("The batcher is closed.")
            if len(self._waiting) >= self._max_waiting:
                raise QueueFullError("The queue is full.")
            self._waiting.append((item, source, future))
            if self._arrivals is not None and source is not None:
                self._arrivals.arrived(source, time.monotonic())
            self._changed.notify_all()
        return future

    @property
    def room(self) -> int:
        """How many more items the next batch could take."""
        with self._changed:
            return max(0, self._max_batch - len(self._waiting))

    def wait_for_room(self, timeout: float) -> int:
        """``room``, waiting up to ``timeout`` seconds until there is some."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._max_batch, timeout)
            return max(0, self._max_batch - len(self._waiting))

    @property
    def idle(self) -> bool:
        with self._changed:
            return not self._busy and not self._waiting

    def close(self, timeout: float | None = None) -> None:
        """Refuse new items, finish those that wait, and end the thread. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)

    # --- the batcher's thread ---

    def _loop(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            if batch:
                self._serve(batch)
            with self._changed:
                self._busy = False

    def _next_batch(self) -> list[tuple[Item, Hashable, Future[Batched[Result]]]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            self._wait_for_a_fuller_batch()
            taken = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
            self._busy = True
            self._changed.notify_all()
        batch = []
        for item, source, future in taken:
            if self._expired is not None and self._expired(item):
                future.cancel()
            if future.set_running_or_notify_cancel():
                batch.append((item, source, future))
        return batch

    def _wait_for_a_fuller_batch(self) -> None:
        if self._arrivals is None:
            return
        while not self._closed and len(self._waiting) < self._max_batch:
            waiting = len(self._waiting)
            pause = self._arrivals.wait(waiting, room=self._max_batch - waiting, now=time.monotonic())
            if pause <= 0 or not self._changed.wait_for(partial(self._grew_beyond, waiting), timeout=pause):
                return

    def _grew_beyond(self, waiting: int) -> bool:
        return self._closed or len(self._waiting) > waiting

    def _serve(self, batch: list[tuple[Item, Hashable, Future[Batched[Result]]]]) -> None:
        started_at = time.monotonic()
        try:
            results = self._run_splitting([item for item, _, _ in batch])
        except BaseException as error:  # whatever a policy raises is its waiters' to see, and the loop goes on
            for _, _, future in batch:
                future.set_exception(error)
            return
        ended_at = time.monotonic()
        if self._arrivals is not None:
            with self._changed:
                self._arrivals.cost.observe(len(batch), ended_at - started_at)
                self._arrivals.answered([source for _, source, _ in batch if source is not None], ended_at)
        for (_, _, future), result in zip(batch, results, strict=True):
            future.set_result(Batched(result, started_at, ended_at - started_at, len(batch)))

    def _run_splitting(self, items: Sequence[Item]) -> list[Result]:
        try:
            results = list(self._run(items))
        except AcceleratorOutOfMemoryError:
            if len(items) == 1:
                raise
            half = len(items) // 2
            return self._run_splitting(items[:half]) + self._run_splitting(items[half:])
        if len(results) != len(items):
            raise PolicyOutputError(f"The policy returned {len(results)} chunks for {len(items)} observations.")
        return results
