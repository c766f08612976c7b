"""Normalisation statistics over any number of records, a batch at a time, in constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.stages.base import FloatArray


class RunningStatistics:
    """Count, mean, population standard deviation, least and greatest, per column.

    Batches are merged by Chan, Golub and LeVeque's formula (1979), which stays exact where sums of squares cancel.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._count = 0
        self._mean = np.zeros(len(names))
        self._squares = np.zeros(len(names))
        self._least = np.full(len(names), np.inf)
        self._greatest = np.full(len(names), -np.inf)

    def add(self, values: FloatArray) -> None:
        """``values``: ``float64 [n][columns]``."""
        count = len(values)
        if not count:
            return
        mean = values.mean(axis=0)
        squares = ((values - mean) ** 2).sum(axis=0)
        self._merge(count, mean, squares, values.min(axis=0), values.max(axis=0))

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add the values that ``as_json`` told of."""
        if other["count"]:
            parts = (np.array(other[name]) for name in ("mean", "squares", "min", "max"))
            self._merge(other["count"], *parts)

    def as_json(self) -> dict[str, Any]:
        """All there is to know, for ``merge``: JSON keeps a double exactly."""
        if not self._count:
            return {"count": 0}
        return {
            "count": self._count,
            "mean": self._mean.tolist(),
            "squares": self._squares.tolist(),
            "min": self._least.tolist(),
            "max": self._greatest.tolist(),
        }

    def _merge(
        self, count: int, mean: FloatArray, squares: FloatArray, least: FloatArray, greatest: FloatArray
    ) -> None:
        change = mean - self._mean
        total = self._count + count
        self._mean += change * count / total
        self._squares += squares + change**2 * self._count * count / total
        self._count = total
        self._least = np.minimum(self._least, least)
        self._greatest = np.maximum(self._greatest, greatest)

    def report(self) -> dict[str, Any]:
        """``{"names", "count", "mean", "std", "min", "max"}``; lists are per column and empty without values."""
        if not self._count:
            return {"names": list(self._names), "count": 0, "mean": [], "std": [], "min": [], "max": []}
        return {
            "names": list(self._names),
            "count": self._count,
            "mean": self._mean.tolist(),
            "std": np.sqrt(self._squares / self._count).tolist(),
            "min": self._least.tolist(),
            "max": self._greatest.tolist(),
        }
