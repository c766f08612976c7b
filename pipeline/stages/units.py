"""Whether numbers are plainly not in the unit that they are said to be in: degrees for radians, say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipeline.stages.base import FloatArray

# Beyond this a typical magnitude is no longer the unit's own: two turns of a joint, a hundred metres from the origin.
_TOO_LARGE = {"rad": (4 * math.pi, "deg"), "m": (100.0, "mm"), "rad/s": (50.0, "deg/s"), "m/s": (50.0, "mm/s")}
# Where all of several entries stay within this for an episode in which they move: half a turn in radians, two metres.
_TOO_SMALL = {"deg": (math.pi, "rad"), "mm": (2.0, "m")}
# One angle, or the width of a gripper, may well stay small; a whole arm does not.
_SMALL_ENTRIES = 3
_SMALL_RECORDS = 10
_STILL = 0.02

_SPELLINGS = {
    "°": "deg",
    "degree": "deg",
    "degrees": "deg",
    "radian": "rad",
    "radians": "rad",
    "meter": "m",
    "meters": "m",
    "metre": "m",
    "metres": "m",
    "millimeter": "mm",
    "millimeters": "mm",
    "millimetre": "mm",
    "millimetres": "mm",
}


def known(units: Sequence[str]) -> tuple[str, ...]:
    """The units as they are spelt here; empty where nothing is known of one."""
    spelt = (_SPELLINGS.get(unit.strip().lower(), unit.strip().lower()) for unit in units)
    return tuple(unit if unit in _TOO_LARGE or unit in _TOO_SMALL else "" for unit in spelt)


def too_large(values: FloatArray, names: Sequence[str], units: Sequence[str]) -> list[str]:
    """What of ``values``, ``float64 [n][entries]`` of one episode, is too large for its unit, in words.

    ``units`` are those that ``known`` gave.
    """
    judged = [index for index, unit in enumerate(units) if unit in _TOO_LARGE]
    if not judged or not len(values):
        return []
    typical = np.median(np.abs(values[:, judged]), axis=0)
    return [
        _said(names[index], units[index], _TOO_LARGE[units[index]][1])
        for index, size in zip(judged, typical, strict=True)
        if size > _TOO_LARGE[units[index]][0]
    ]


def too_small(values: FloatArray, names: Sequence[str], units: Sequence[str]) -> list[str]:
    """As ``too_large``, for positions that together stay too small although they move."""
    if len(values) < _SMALL_RECORDS:
        return []
    found = []
    for unit, (most, other) in _TOO_SMALL.items():
        judged = [index for index, given in enumerate(units) if given == unit]
        if len(judged) < _SMALL_ENTRIES:
            continue
        part = values[:, judged]
        if np.abs(part).max() <= most and np.ptp(part, axis=0).max() > _STILL:
            found += [_said(names[index], unit, other) for index in judged]
    return found


def _said(name: str, unit: str, other: str) -> str:
    return f"unit_doubtful: {name} [{unit}] reads like {other}"
