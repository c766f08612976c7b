"""Is a chunk safe to send? Limits of an action space, checked over a whole batch at once. Imports no Django.

Rules, each per dimension and step: ``position`` (below ``low`` or above ``high``), ``step`` (change between two steps
above ``max_step_change``) and ``velocity`` (change per second above ``max_velocity``, at the control rate). Clamping
sends the nearest chunk that keeps them all: limits first, then changes from step to step, which cannot leave the limits
again because each step moves from one inside them towards another inside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from inference.exceptions import PolicyOutputError

Chunks = npt.NDArray[np.float64]


class DimensionLimits(Protocol):
    """What the check needs to know of a dimension; None is no limit."""

    @property
    def name(self) -> str: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def max_step_change(self) -> float | None: ...
    @property
    def max_velocity(self) -> float | None: ...


class Violation(TypedDict):
    """One broken limit: where, which rule, the policy's value, the limit, and the value after the check.

    For ``step`` and ``velocity`` the value is the change (per second for ``velocity``), signed.
    """

    step: int
    dimension: str
    rule: str
    value: float
    limit: float
    sent: float | None


@dataclass(frozen=True, slots=True)
class SafetyVerdict:
    """``actions`` is what may be sent, ``[horizon][dimension]``, empty when rejected.

    ``score`` is the share of the chunk's values that broke no rule, 0..1.
    """

    verdict: str
    score: float
    violations: list[Violation]
    actions: list[list[float]]

    def as_dict(self) -> dict[str, Any]:
        """The contract's ``safety`` object."""
        return {"score": self.score, "verdict": self.verdict, "violations": self.violations}


class SafetyChecker:
    """Checks batches of chunks of one action space. Build one per action space and mode; it keeps no other state."""

    def __init__(self, dimensions: Sequence[DimensionLimits], *, control_rate_hz: float, mode: str) -> None:
        self.names = [dimension.name for dimension in dimensions]
        self.mode = mode
        self._low = np.array([-np.inf if d.low is None else d.low for d in dimensions])
        self._high = np.array([np.inf if d.high is None else d.high for d in dimensions])
        self._step = np.array([np.inf if d.max_step_change is None else d.max_step_change for d in dimensions])
        velocity = np.array([np.inf if d.max_velocity is None else d.max_velocity for d in dimensions])
        self._velocity_step = velocity / control_rate_hz
        self._velocity = velocity
        self._rate = control_rate_hz
        self._change = np.minimum(self._step, self._velocity_step)
        self._limits_changes = bool(np.isfinite(self._change).any())

    def check(self, chunks: Chunks) -> list[SafetyVerdict]:
        """A verdict for each of ``chunks``, float ``[batch, horizon, dimension]`` in physical units, all finite.

        Raises ``PolicyOutputError`` on a wrong number of dimensions or a value that is not finite: whatever the mode,
        such a chunk never leaves the system.
        """
        chunks = np.asarray(chunks, dtype=np.float64)
        if chunks.ndim != 3 or chunks.shape[2] != len(self.names):
            raise PolicyOutputError(
                f"Expected chunks of {len(self.names)} dimensions, got an array of shape {chunks.shape}."
            )
        if not np.isfinite(chunks).all():
            raise PolicyOutputError("The policy returned a value that is not a finite number.")
        if self.mode == "off":
            return [SafetyVerdict("pass", 1.0, [], chunk.tolist()) for chunk in chunks]

        # Policies compute in single precision: what lies beyond a limit by its rounding alone is moved to the limit
        # without being called a violation.
        rounding = 2.0**-22 * np.maximum(np.abs(chunks), 1e-3)
        beyond = np.maximum(self._low - chunks, chunks - self._high)
        outside = beyond > rounding
        broken = outside.copy()
        exact = not (beyond > 0).any()
        by_step = by_velocity = None
        if self._limits_changes and chunks.shape[1] > 1:
            changes = np.abs(np.diff(chunks, axis=1))
            slack = rounding[:, 1:] + rounding[:, :-1]
            by_step = changes > self._step + slack
            by_velocity = changes > self._velocity_step + slack
            broken[:, 1:] |= by_step | by_velocity
            exact = exact and not (changes > self._change).any()
        if exact:
            return [SafetyVerdict("pass", 1.0, [], chunk.tolist()) for chunk in chunks]

        scores = 1.0 - broken.reshape(len(chunks), -1).mean(axis=1)
        sent = chunks if self.mode == "report" else self._clamped(chunks)
        return [
            self._verdict(
                chunks[i],
                sent[i],
                float(scores[i]),
                outside[i],
                None if by_step is None else by_step[i],
                None if by_velocity is None else by_velocity[i],
            )
            if broken[i].any()
            else SafetyVerdict("pass", 1.0, [], sent[i].tolist())
            for i in range(len(chunks))
        ]

    def _clamped(self, chunks: Chunks) -> Chunks:
        safe = np.clip(chunks, self._low, self._high)
        if self._limits_changes:
            for step in range(1, safe.shape[1]):
                before = safe[:, step - 1]
                safe[:, step] = np.clip(safe[:, step], before - self._change, before + self._change)
        return safe

    def _verdict(
        self,
        chunk: Chunks,
        clamped: Chunks,
        score: float,
        outside: npt.NDArray[np.bool_],
        by_step: npt.NDArray[np.bool_] | None,
        by_velocity: npt.NDArray[np.bool_] | None,
    ) -> SafetyVerdict:
        rejected = self.mode == "reject"
        violations: list[Violation] = []
        for step, dimension in np.argwhere(outside):
            value = float(chunk[step, dimension])
            limit = float(self._low[dimension] if value < self._low[dimension] else self._high[dimension])
            violations.append(self._violation(step, dimension, "position", value, limit, clamped, rejected))
        for rule, flags, limits, factor in (
            ("step", by_step, self._step, 1.0),
            ("velocity", by_velocity, self._velocity, self._rate),
        ):
            if flags is None:
                continue
            for step, dimension in np.argwhere(flags):
                change = float(chunk[step + 1, dimension] - chunk[step, dimension]) * factor
                limit = float(limits[dimension])
                violations.append(self._violation(step + 1, dimension, rule, change, limit, clamped, rejected))
        violations.sort(key=lambda v: (v["step"], self.names.index(v["dimension"])))
        if rejected:
            return SafetyVerdict("rejected", score, violations, [])
        return SafetyVerdict("clamped" if self.mode == "clamp" else "pass", score, violations, clamped.tolist())

    def _violation(
        self, step: int, dimension: int, rule: str, value: float, limit: float, clamped: Chunks, rejected: bool
    ) -> Violation:
        return {
            "step": int(step),
            "dimension": self.names[dimension],
            "rule": rule,
            "value": value,
            "limit": limit,
            "sent": None if rejected else float(clamped[step, dimension]),
        }
