"""When does a short wait for a fuller batch pay? Learnt from who came back how soon, and from what batches cost.

Robots that run closed-loop ask again a few milliseconds after their answer. Taking a batch of one the moment the model
is free, when seven such robots are about to ask, splits them into small batches for good; waiting for all of them
leaves the model idle while they are on their way. Of N robots that come back soon, let k groups of n = N / k take
turns, with C(n) the model's time for a batch and R(n) the time until a batch's robots are back, both learnt as straight
lines. A turn of all groups then takes

    max(k × C(n), C(n) + R(n))

because one group is on its way while the others are served. The k with the shortest turn says how large a batch is
worth waiting for. A robot that has not come back so soon lately counts for nothing here, so a robot alone, or robots at
their own slow pace, wait for nobody. Not thread-safe: the batcher's lock guards it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

_SMOOTHING = 0.2
_GROUPS = 4
# A batch counts as back when so much of it is: a robot that has finished its episode holds nothing up.
_BACK = 0.9


class BatchCost:
    """Seconds for a batch of n, as ``base + n × per_item``, by exponentially forgetting least squares."""

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def observe(self, size: int, seconds: float) -> None:
        keep = 1 - 0.05
        self._weight = self._weight * keep + 1
        self._n = self._n * keep + size
        self._t = self._t * keep + seconds
        self._nn = self._nn * keep + size * size
        self._nt = self._nt * keep + size * seconds

    def predict(self, size: float) -> float:
        """Seconds for a batch of ``size``; 0 before the first observation."""
        if not self._weight:
            return 0.0
        mean_n, mean_t = self._n / self._weight, self._t / self._weight
        variance = self._nn / self._weight - mean_n**2
        if variance < 1e-9:
            return mean_t
        slope = max(0.0, (self._nt / self._weight - mean_n * mean_t) / variance)
        return max(0.0, mean_t + slope * (size - mean_n))


@dataclass(slots=True)
class _Batch:
    """Answers that left together, and how many of their robots are back."""

    answered_at: float
    size: int
    back: int = 0


@dataclass(slots=True)
class _Source:
    """``batch`` is the one it was answered in, until it asks again; ``overdue``: it is waited for no longer."""

    batch: _Batch | None = None
    overdue: bool = False
    gap: float | None = None
    deviation: float = 0.0
    missed: int = 0


class Arrivals:
    """Predicts which sources come back soon. Times are in seconds of one monotonic clock."""

    def __init__(self, *, max_wait: float = 0.02) -> None:
        self.cost = BatchCost()
        self._return = BatchCost()
        self._max_wait = max_wait
        self._sources: dict[Hashable, _Source] = {}

    def arrived(self, source: Hashable, now: float) -> None:
        """``source`` asked."""
        known = self._sources.setdefault(source, _Source())
        batch, known.batch = known.batch, None
        if batch is None:
            return
        gap = now - batch.answered_at
        if gap > 10 * self._max_wait:
            known.gap = None
            return
        if known.gap is None:
            known.gap, known.deviation = gap, gap / 2
        else:
            # Late ones too: an average of the punctual alone would call every busy moment late.
            known.deviation += _SMOOTHING * (abs(gap - known.gap) - known.deviation)
            known.gap += _SMOOTHING * (gap - known.gap)
        if not known.overdue:
            known.missed = 0
        known.overdue = False
        batch.back += 1
        if batch.back == math.ceil(_BACK * batch.size):
            self._return.observe(batch.size, gap)

    def answered(self, sources: Sequence[Hashable], now: float) -> None:
        """``sources`` got their answers, all in one batch."""
        batch = _Batch(now, len(sources))
        for source in sources:
            known = self._sources.setdefault(source, _Source())
            known.batch, known.overdue = batch, False
        if len(self._sources) > 4096:
            self._forget_before(now - 60)

    def wait(self, waiting: int, *, room: int, now: float) -> float:
        """How many seconds from ``now`` a batch of ``waiting`` should wait for more, ``room`` more at most."""
        expected = []
        for source in self._sources.values():
            if source.batch is None or source.overdue or source.gap is None or source.gap > self._max_wait:
                continue
            due = source.batch.answered_at + source.gap + 2 * source.deviation - now
            if due < 0:
                # It did not come as expected: wait for it no longer, and after three times not the next time either.
                source.overdue = True
                source.missed += 1
            elif source.missed <= 2:
                expected.append(due)
        missing = min(self._worth(waiting + len(expected)) - waiting, room, len(expected))
        if missing <= 0:
            return 0.0
        due = min(sorted(expected)[missing - 1], self._max_wait)
        # What a fuller batch saves is the base of another one; a longer wait than that never pays.
        return due if due < self.cost.predict(0) else 0.0

    def _worth(self, robots: int) -> int:
        """How large a batch is worth waiting for, of ``robots`` that wait or come back soon."""

        def turn(groups: int) -> float:
            size = robots / groups
            model = self.cost.predict(size)
            return max(groups * model, model + self._return.predict(size))

        return math.ceil(robots / min(range(1, min(_GROUPS, robots) + 1), key=turn)) if robots else 0

    def _forget_before(self, limit: float) -> None:
        self._sources = {
            name: source
            for name, source in self._sources.items()
            if source.batch is None or source.batch.answered_at > limit
        }
