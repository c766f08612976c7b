"""Python's garbage collector in processes that serve: what was loaded at start is looked through once only."""

from __future__ import annotations

import gc

# Allocations between collections of the youngest generation, and how many of each before the next older one. Serving
# makes next to no cycles; Python's own thresholds cost a busy process a fifth of its time.
_THRESHOLDS = (20_000, 20, 100)


def spare_what_is_loaded() -> None:
    """Call once, when a process has imported what it needs and before it serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
