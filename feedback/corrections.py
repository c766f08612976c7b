"""Chunks that people enter: which one they correct, what is allowed, and how far two are apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from collections_app.choices import SafetyMode
from collections_app.models import ActionDimension
from core.problems import FieldError, Problem
from inference.models import InferenceResult
from inference.safety import SafetyChecker

Chunk = list[list[float]]

MAX_ERRORS = 50


def chunk_to_correct(result: InferenceResult) -> Chunk:
    """What the robot was sent, or what the policy proposed where nothing was sent: ``[horizon][dimension]``."""
    chunk: Chunk = result.output_actions or result.proposed_actions or []
    return chunk


def checked_correction(actions: Any, *, result: InferenceResult, pointer: str = "/actions") -> Chunk:
    """``actions`` as floats, where it has the shape of the result's chunk and keeps the action space's limits.

    Raises ``Problem`` 400 whose pointers name each wrong step (``/actions/3``) or number (``/actions/3/2``).
    """
    dimensions = action_dimensions(result)
    steps = len(chunk_to_correct(result)) or result.collection.horizon
    errors = list(_shape_errors(actions, steps, len(dimensions), pointer))
    errors = errors or list(_limit_errors(actions, result, pointer))
    if errors:
        raise Problem(400, "invalid_correction", "The correction is not valid.", errors=errors[:MAX_ERRORS])
    return [[float(value) for value in step] for step in actions]


def action_dimensions(result: InferenceResult) -> list[ActionDimension]:
    """The dimensions of the result's action space, in the order of an action's entries."""
    return list(result.collection.action_space.dimensions.order_by("position"))


def largest_change(dimension: ActionDimension, control_rate_hz: float) -> float | None:
    """How far two consecutive steps may be apart, in the dimension's unit; None where nothing limits it."""
    limits = [dimension.max_step_change, dimension.max_velocity and dimension.max_velocity / control_rate_hz]
    return min((limit for limit in limits if limit is not None), default=None)


def distance(first: Chunk, second: Chunk, dimensions: Sequence[ActionDimension]) -> float:
    """Mean absolute difference of two chunks of one shape, in shares of each dimension's range (of 1 where unknown)."""
    return sum(distance_by_dimension(first, second, dimensions)) / len(dimensions)


def distance_by_dimension(first: Chunk, second: Chunk, dimensions: Sequence[ActionDimension]) -> list[float]:
    """``distance`` of each dimension alone."""
    return [
        sum(abs(a[index] - b[index]) for a, b in zip(first, second, strict=True)) / (len(first) * _range(dimension))
        for index, dimension in enumerate(dimensions)
    ]


def same_shape(first: Chunk, second: Chunk) -> bool:
    return [len(step) for step in first] == [len(step) for step in second]


def _range(dimension: ActionDimension) -> float:
    if dimension.low is None or dimension.high is None:
        return 1.0
    return dimension.high - dimension.low


def _shape_errors(actions: Any, steps: int, width: int, pointer: str) -> Iterator[FieldError]:
    if not isinstance(actions, list):
        yield FieldError(pointer, f"Give a list of {steps} steps.")
        return
    if len(actions) != steps:
        yield FieldError(pointer, f"The chunk has {steps} steps; {len(actions)} were given.")
    for index, step in enumerate(actions):
        if not isinstance(step, list) or len(step) != width:
            yield FieldError(f"{pointer}/{index}", f"Give a list of {width} numbers.")
            continue
        for position, value in enumerate(step):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                yield FieldError(f"{pointer}/{index}/{position}", "Give a finite number.")


def _limit_errors(actions: Chunk, result: InferenceResult, pointer: str) -> Iterator[FieldError]:
    """The same check that stands between a policy and a robot."""
    dimensions = action_dimensions(result)
    places = {dimension.name: index for index, dimension in enumerate(dimensions)}
    rate = result.collection.action_space.control_rate_hz
    names = result.collection.action_space.state_names
    checker = SafetyChecker(dimensions, control_rate_hz=rate, mode=SafetyMode.REPORT, state_names=names)
    states = np.array([result.input_state], dtype=np.float64)
    for violation in checker.check(np.array([actions], dtype=np.float64), states)[0].violations:
        place = places[violation["dimension"]]
        dimension = dimensions[place]
        limit = f"{violation['limit']:g} {dimension.unit}".rstrip()
        sentence = {
            "position": f"goes {'below' if violation['value'] < violation['limit'] else 'above'} its limit of {limit}",
            "step": f"changes by more than {limit} from the step before",
            "velocity": f"changes faster than {limit} per second",
            "workspace": f"moves the robot out of its workspace, whose end is at {violation['limit']:g}",
        }[violation["rule"]]
        yield FieldError(f"{pointer}/{violation['step']}/{place}", f"{dimension.name} {sentence}.")
