"""LeRobot's statistics: per feature least, greatest, mean, standard deviation, count and five quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
# Pixels are many and alike: these many frames of an episode, these many pixels of a frame, speak for all.
SAMPLED_FRAMES = 16
SAMPLED_PIXELS = 1024

Values = npt.NDArray[Any]
Statistics = dict[str, Values]


def of_vectors(values: Values) -> Statistics:
    """``values``: ``[frames][size]``; each statistic is ``float64 [size]``, the count ``int64 [1]``."""
    numbers = values.astype(np.float64)
    return {
        "min": numbers.min(axis=0),
        "max": numbers.max(axis=0),
        "mean": numbers.mean(axis=0),
        "std": numbers.std(axis=0),
        "count": np.array([len(numbers)]),
        **{name: np.quantile(numbers, share, axis=0) for name, share in QUANTILES.items()},
    }


def of_pixels(pixels: Values, frames: int) -> Statistics:
    """``pixels``: ``uint8 [n][3]``; each statistic is ``float64 [3, 1, 1]`` in 0..1, the count that of ``frames``."""
    found = of_vectors(pixels / 255.0)
    return {name: np.array([frames]) if name == "count" else values.reshape(3, 1, 1) for name, values in found.items()}


def sample_pixels(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Evenly spread pixels of ``uint8 [height, width, 3]`` as ``[n][3]``; the same ones each time."""
    pixels = image.reshape(-1, 3)
    return pixels[:: max(1, len(pixels) // SAMPLED_PIXELS)]
