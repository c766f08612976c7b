"""Which results are like a given one. The vectors belong to an app above: it says so here, when it is ready."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Protocol

from core.problems import Problem
from inference.models import InferenceResult


class Likeness(Protocol):
    def __call__(self, result: InferenceResult, *, threshold: float, limit: int) -> Mapping[uuid.UUID, float]:
        """The ids of at most ``limit`` results of the same collection and how like they are, ``threshold`` to 1, most
        like first. Raises ``Problem`` 404 where nothing is known of ``result`` yet."""
        ...


_providers: list[Likeness] = []


def provide(likeness: Likeness) -> None:
    """Let ``likeness`` answer from now on, in place of whoever did."""
    _providers[:] = [likeness]


def moments_like(result: InferenceResult, *, threshold: float, limit: int) -> Mapping[uuid.UUID, float]:
    """As ``Likeness``. Raises ``Problem`` 503 where nothing can tell."""
    if not _providers:
        raise Problem(503, "no_likeness", "Nothing here can tell which results are alike.")
    return _providers[0](result, threshold=threshold, limit=limit)
