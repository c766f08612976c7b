"""When does a short wait for a fuller batch pay? Learnt from who came back how soon, and from what batches cost.

Robots that run closed-loop ask again a few milliseconds after their answer. Taking a batch of one the moment the model
is free, when seven such robots are about to ask, splits them into small batches for good. This keeps, for each source,
a moving average of the time from its answer to its next request; the model's cost of a batch of n is learnt as
``base + n × per_item``. A wait is worth taking when it raises the rate

    (n + k) / (wait + base + (n + k) × per_item)

for the k sources expected within it. A source that has not come back so soon lately is never waited for, so a robot
alone, or robots at their own slow pace, wait for nobody. Not thread-safe: the batcher's lock guards it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

_SMOOTHING = 0.2


@dataclass(slots=True)
class _Source:
    answered_at: float | None = None
    gap: float | None = None
    deviation: float = 0.0
    missed: int = 0


class BatchCost:
    """The model's seconds for a batch of n, as ``base + n × per_item``, by exponentially forgetting least squares."""

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def observe(self, size: int, seconds: float) -> None:
        keep = 1 - 0.05
        self._weight = self._weight * keep + 1
        self._n = self._n * keep + size
        self._t = self._t * keep + seconds
        self._nn = self._nn * keep + size * size
        self._nt = self._nt * keep + size * seconds

    def predict(self, size: int) -> float:
        """Seconds for a batch of ``size``; 0 before the first observation."""
        if not self._weight:
            return 0.0
        mean_n, mean_t = self._n / self._weight, self._t / self._weight
        variance = self._nn / self._weight - mean_n**2
        if variance < 1e-9:
            return mean_t
        slope = max(0.0, (self._nt / self._weight - mean_n * mean_t) / variance)
        return max(0.0, mean_t + slope * (size - mean_n))


class Arrivals:
    """Predicts which sources come back soon. Times are in seconds of one monotonic clock."""

    def __init__(self, *, max_wait: float = 0.02) -> None:
        self.cost = BatchCost()
        self._max_wait = max_wait
        self._sources: dict[Hashable, _Source] = {}

    def arrived(self, source: Hashable, now: float) -> None:
        """``source`` asked."""
        known = self._sources.setdefault(source, _Source())
        if known.answered_at is not None:
            gap = now - known.answered_at
            known.answered_at = None
            if gap > 10 * self._max_wait:
                known.gap = None
            elif known.gap is None:
                known.gap, known.deviation = gap, gap / 2
            else:
                known.deviation += _SMOOTHING * (abs(gap - known.gap) - known.deviation)
                known.gap += _SMOOTHING * (gap - known.gap)
            known.missed = 0

    def answered(self, source: Hashable, now: float) -> None:
        """``source`` got its answer."""
        known = self._sources.setdefault(source, _Source())
        known.answered_at = now
        if len(self._sources) > 4096:
            self._forget_before(now - 60)

    def wait(self, waiting: int, *, room: int, now: float) -> float:
        """How many seconds from ``now`` a batch of ``waiting`` should wait for more, ``room`` more at most."""
        expected = []
        for source in self._sources.values():
            if source.answered_at is None or source.gap is None or source.gap > self._max_wait or source.missed > 2:
                continue
            due = source.answered_at + source.gap + source.deviation - now
            if due < -source.deviation - 0.002:
                # It did not come as expected; wait for it no longer, and after three times never.
                source.answered_at = None
                source.missed += 1
                continue
            expected.append(max(due, 0.0))
        if not expected:
            return 0.0
        expected.sort()
        base_rate = waiting / max(self.cost.predict(waiting), 1e-6)
        best_rate, best_wait = base_rate, 0.0
        for more, due in enumerate(expected[:room], start=1):
            if due > self._max_wait:
                break
            size = waiting + more
            rate = size / max(due + self.cost.predict(size), 1e-6)
            # A margin, because a prediction may be wrong and a wait is certain.
            if rate > best_rate * 1.02:
                best_rate, best_wait = rate, due
        return best_wait

    def _forget_before(self, limit: float) -> None:
        self._sources = {
            name: source
            for name, source in self._sources.items()
            if source.answered_at is None or source.answered_at > limit
        }
