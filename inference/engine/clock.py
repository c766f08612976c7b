"""Redis' clock as seen from here: deadlines are counted on one clock, whatever a machine's own says."""

from __future__ import annotations

import time
from typing import Any


class RedisClock:
    """The offset between Redis' clock and this process', taken from the fastest of a few round trips."""

    def __init__(self) -> None:
        self._offset_ms = 0.0

    def synchronise(self, client: Any) -> None:
        """Measure the offset again. Raises what the client raises."""
        best = float("inf")
        for _ in range(3):
            before = time.time()
            seconds, microseconds = client.time()
            after = time.time()
            if after - before < best:
                best = after - before
                self._offset_ms = (seconds + microseconds / 1e6 - (before + after) / 2) * 1000

    def now_ms(self) -> int:
        """Now, in whole Unix milliseconds of Redis' clock."""
        return int(self.now_ms_precise())

    def now_ms_precise(self) -> float:
        return time.time() * 1000 + self._offset_ms
