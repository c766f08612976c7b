"""95 % confidence intervals for the comparison of two policy versions. Imports no Django.

Steps of one episode resemble each other, so a thousand steps are not a thousand independent observations. Whatever is
measured on every step takes whole episodes as its units: means and quantiles by a bootstrap that draws episodes
(Field and Welsh 2007, the cluster bootstrap), shares by Wilson's interval with the sample counted by its design effect
(Kish 1965; Korn and Graubard 1998).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

import numpy as np
import numpy.typing as npt

_LEVEL = 0.95
_Z = NormalDist().inv_cdf(0.5 + _LEVEL / 2)
_REPLICATES = 1000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; ``low`` and ``high`` are None where the sample is too small to say."""

    value: float
    low: float | None
    high: float | None


class Sample:
    """Values that were measured on steps, each step of one episode. Draws its replicates once, for every statistic."""

    def __init__(self, values: Sequence[float], episodes: Sequence[Hashable], *, seed: int = 0) -> None:
        self.values = np.asarray(values, np.float64)
        numbers = {episode: number for number, episode in enumerate(dict.fromkeys(episodes))}
        self._episode = np.array([numbers[episode] for episode in episodes], np.intp)
        self.episodes = len(numbers)
        self._drawn: Floats | None = None
        self._seed = seed

    def __len__(self) -> int:
        return len(self.values)

    def mean(self) -> Floats | None:
        """The mean and, after it, the mean of each replicate; None of nothing."""
        if not len(self):
            return None
        totals = np.bincount(self._episode, self.values, self.episodes)
        counts = np.bincount(self._episode, minlength=self.episodes)
        weights = self._weights()
        return np.concatenate([[self.values.mean()], (weights @ totals) / (weights @ counts)])

    def quantile(self, share: float) -> Floats | None:
        """The ``share`` quantile (nearest rank) and, after it, that of each replicate; None of nothing."""
        if not len(self):
            return None
        order = np.argsort(self.values, kind="stable")
        ordered = self.values[order]
        weights = self._weights()[:, self._episode[order]]
        below = np.cumsum(weights, axis=1)
        ranks = np.argmax(below >= share * below[:, -1:], axis=1)
        own = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
        return np.concatenate([[own], ordered[ranks]])

    def _weights(self) -> Floats:
        """How often each replicate drew each episode, ``[replicate, episode]``."""
        if self._drawn is None:
            generator = np.random.default_rng(self._seed)
            drawn = generator.multinomial(self.episodes, np.full(self.episodes, 1 / self.episodes), size=_REPLICATES)
            self._drawn = drawn.astype(np.float64)
        return self._drawn


def bootstrapped(replicates: Floats | None, *, episodes: int) -> Estimate | None:
    """The percentile interval of what ``Sample`` returned, from two episodes on."""
    if replicates is None:
        return None
    if episodes < 2:
        return Estimate(float(replicates[0]), None, None)
    low, high = np.quantile(replicates[1:], [0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2])
    return Estimate(float(replicates[0]), float(low), float(high))


def share(sample: Sample) -> Estimate | None:
    """The share of ones among zeros and ones, by Wilson's interval with the sample counted by its design effect."""
    if not len(sample):
        return None
    return wilson(float(sample.values.mean()), _independent(sample))


def wilson(share_of: float, count: float) -> Estimate:
    """Wilson's score interval (1927) of a share among ``count`` independent observations."""
    centre = (share_of + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share_of * (1 - share_of) / count + _Z**2 / (4 * count**2))
    return Estimate(share_of, max(0.0, min(centre - half, share_of)), min(1.0, max(centre + half, share_of)))


def difference_of_shares(first: Estimate, second: Estimate) -> Estimate:
    """``second - first``, by Newcombe's hybrid score interval (1998, method 10)."""
    assert first.low is not None
    assert first.high is not None
    assert second.low is not None
    assert second.high is not None
    value = second.value - first.value
    low = value - math.hypot(second.value - second.low, first.high - first.value)
    high = value + math.hypot(second.high - second.value, first.value - first.low)
    return Estimate(value, low, high)


def mean_of_few(values: Sequence[float]) -> Estimate | None:
    """The mean by Student's t, for values that stand each for itself."""
    if not values:
        return None
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(mean, None, None)
    half = student(len(values) - 1) * math.sqrt(variance(values) / len(values))
    return Estimate(mean, mean - half, mean + half)


def welch(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """The difference of the means, ``second - first``, by Welch's t interval (1947)."""
    if not first or not second:
        return None
    value = fmean(second) - fmean(first)
    if len(first) < 2 or len(second) < 2:
        return Estimate(value, None, None)
    a, b = variance(first) / len(first), variance(second) / len(second)
    if a + b == 0:
        # Not one value differs from another: the spread is unknown, not nothing.
        return Estimate(value, None, None)
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    half = student(max(1, math.floor(freedom))) * math.sqrt(a + b)
    return Estimate(value, value - half, value + half)


def student(freedom: int) -> float:
    """The t beyond which 5 % lie, both ways: the series of Abramowitz and Stegun 26.7.3 and 26.7.4, inverted."""
    if freedom > 200:
        # The first terms of 26.7.5; exact to four digits here.
        return _Z + (_Z**3 + _Z) / (4 * freedom)
    low, high = 0.0, 13.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < _LEVEL else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """The probability of a t between ``-t`` and ``t``."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    if freedom % 2:
        term, total = cosine, cosine if freedom > 1 else 0.0
        for step in range(3, freedom - 1, 2):
            term *= cosine**2 * (step - 1) / step
            total += term
        return 2 / math.pi * (angle + math.sin(angle) * total)
    term = total = 1.0
    for step in range(2, freedom - 1, 2):
        term *= cosine**2 * (step - 1) / step
        total += term
    return math.sin(angle) * total


def _independent(sample: Sample) -> float:
    """How many independent observations the sample is worth: between one an episode and one a step."""
    count, episodes = len(sample), sample.episodes
    mean = float(sample.values.mean())
    if episodes < 2 or mean in (0.0, 1.0):
        return float(episodes)
    residuals = np.bincount(sample._episode, sample.values - mean, episodes)
    clustered = episodes / (episodes - 1) * float((residuals**2).sum()) / count**2
    if clustered == 0:
        return float(count)
    return min(float(count), max(float(min(episodes, count)), mean * (1 - mean) / clustered))
