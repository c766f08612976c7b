"""Python's garbage collector: it looks once at what a process loads at its start, and not at all amid bounded work."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Allocations between collections of the youngest generation, and how many of each before the next older one. Serving
# makes next to no cycles; Python's own thresholds cost a busy process a fifth of its time.
_THRESHOLDS = (20_000, 20, 100)


def spare_what_is_loaded() -> None:
    """Call once, when a process has imported what it needs and before it serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


@contextmanager
def held_off() -> Iterator[None]:
    """No collection until the block ends: for work of bounded memory that makes many objects and no cycles of them.

    Of several such blocks on threads of one process, the first that ends lets the collector in again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
