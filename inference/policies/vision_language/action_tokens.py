"""Action tokens as OpenVLA speaks them: the last words of the vocabulary are bins, and a dataset's statistics give
the bins their units.

Kim et al. 2024, "OpenVLA: An Open-Source Vision-Language-Action Model"; the arithmetic is that of its
``predict_action``. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from inference.exceptions import PolicyLoadError
from inference.policies.base import FloatArray


@dataclass(frozen=True, slots=True)
class ActionTokens:
    """The last ``bins`` of the ``vocabulary`` words that the tokenizer knows, counted from its end.

    ``bins`` edges of ``linspace(-1, 1)`` enclose ``bins - 1`` centres, so the first two tokens share the last centre.
    """

    vocabulary: int
    bins: int = 256

    @property
    def first(self) -> int:
        """The least token that is an action."""
        return self.vocabulary - self.bins

    def normalised(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """``tokens`` of any shape as the centres of their bins, in -1..1."""
        edges = np.linspace(-1.0, 1.0, self.bins)
        centres = (edges[:-1] + edges[1:]) / 2
        found: npt.NDArray[np.float64] = centres[np.clip(self.vocabulary - tokens - 1, 0, self.bins - 2)]
        return found


@dataclass(frozen=True, slots=True)
class ActionStatistics:
    """What -1 and 1 are in the units of one dataset: ``low`` and ``high``, ``float64 [dimensions]``, its quantiles at
    1 % and 99 %. Where ``mask`` is false (a gripper), the number is already in its unit.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    mask: npt.NDArray[np.bool_]

    @classmethod
    def choose(cls, statistics: Mapping[str, Any], key: str | None) -> Self:
        """Those of the dataset ``key``, or of the only one. Raises ``PolicyLoadError`` naming what there is."""
        known = ", ".join(sorted(statistics))
        if not statistics:
            raise PolicyLoadError(
                "The checkpoint has no statistics of actions: neither norm_stats in config.json nor a "
                "dataset_statistics.json."
            )
        if key is None:
            if len(statistics) > 1:
                raise PolicyLoadError(f"The checkpoint knows several datasets: give 'unnorm_key' as one of {known}.")
            key = next(iter(statistics))
        if key not in statistics:
            raise PolicyLoadError(f"The checkpoint has no statistics of a dataset '{key}'. It knows {known}.")
        return cls._of(statistics[key], key)

    @classmethod
    def _of(cls, entry: Any, key: str) -> Self:
        try:
            action = entry["action"]
            low, high = (np.asarray(action[name], np.float64) for name in ("q01", "q99"))
            mask = np.asarray(action.get("mask", np.ones(low.shape)), np.bool_)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PolicyLoadError(f"The statistics of '{key}' lack q01 and q99 of its actions.") from error
        if low.ndim != 1 or not len(low) or not low.shape == high.shape == mask.shape:
            raise PolicyLoadError(f"The statistics of '{key}' are not of one length.")
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise PolicyLoadError(f"The statistics of '{key}' hold no range: q01 is above q99, or is no number.")
        return cls(low, high, mask)

    @property
    def dimensions(self) -> int:
        return len(self.low)

    def in_units(self, normalised: npt.NDArray[np.float64]) -> FloatArray:
        """``normalised``, ``[..., dimensions]`` in -1..1, as ``float32`` in the dataset's units."""
        scaled = 0.5 * (normalised + 1) * (self.high - self.low) + self.low
        return np.where(self.mask, scaled, normalised).astype(np.float32)
