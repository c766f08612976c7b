"""Is a chunk safe to send? Limits of an action space, checked over a whole batch at once. Imports no Django.

Rules, each per dimension and step: ``position`` (below ``low`` or above ``high``; for a gripper, its range), ``step``
(change between two steps above ``max_step_change``), ``velocity`` (change per second above ``max_velocity``, at the
control rate) and ``workspace`` (where an action displaces an entry of the state, the place reached by the steps so far
leaves the box; from outside it may only come back).

Clamping goes through the steps and moves each to the nearest value that keeps all rules, given the steps before it.
Where there is none, as before a wall that the limit of change leaves no room to brake for, the chunk is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    @property
    def workspace_state(self) -> str: ...
    @property
    def workspace_low(self) -> float | None: ...
    @property
    def workspace_high(self) -> float | None: ...


class Violation(TypedDict):
    """One broken limit: where, which rule, the policy's value, the limit, and the same value of what was sent.

    For ``step`` and ``velocity`` the value is the change (per second for ``velocity``), signed; for ``workspace`` it is
    the place reached, in the state's unit. ``sent`` is None where nothing was sent.
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

    def __init__(
        self,
        dimensions: Sequence[DimensionLimits],
        *,
        control_rate_hz: float,
        mode: str,
        state_names: Sequence[str] = (),
    ) -> None:
        """Raises ``ValueError`` where a workspace is given for an entry that is not in ``state_names``."""
        self.names = [dimension.name for dimension in dimensions]
        self.mode = mode
        self._low = _limits((d.low for d in dimensions), -np.inf)
        self._high = _limits((d.high for d in dimensions), np.inf)
        self._step = _limits((d.max_step_change for d in dimensions), np.inf)
        self._velocity = _limits((d.max_velocity for d in dimensions), np.inf)
        self._velocity_step = self._velocity / control_rate_hz
        self._rate = control_rate_hz
        self._change = np.minimum(self._step, self._velocity_step)
        self._limits_changes = bool(np.isfinite(self._change).any())
        boxed = [
            index
            for index, d in enumerate(dimensions)
            if d.workspace_state and not (d.workspace_low is None and d.workspace_high is None)
        ]
        self._boxed = np.array(boxed, np.intp)
        self._entries = np.array([state_names.index(dimensions[index].workspace_state) for index in boxed], np.intp)
        self._box_low = _limits((dimensions[index].workspace_low for index in boxed), -np.inf)
        self._box_high = _limits((dimensions[index].workspace_high for index in boxed), np.inf)

    @property
    def has_workspace(self) -> bool:
        """Whether ``check`` needs to know the states."""
        return bool(len(self._boxed))

    def check(self, chunks: Chunks, states: Chunks | None = None) -> list[SafetyVerdict]:
        """A verdict for each of ``chunks``, float ``[batch, horizon, dimension]`` in physical units, all finite.

        ``states``, float ``[batch, entry]``, is where the robots are; a checker with a workspace needs it. Raises
        ``PolicyOutputError`` on a wrong number of dimensions or a value that is not finite: whatever the mode, such a
        chunk never leaves the system.
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

        box = self._box_from(states)
        if self._keep_all_limits(chunks, box):
            return [SafetyVerdict("pass", 1.0, [], chunk.tolist()) for chunk in chunks]
        # Policies compute in single precision: what lies beyond a limit by its rounding alone is moved to the limit
        # without being called a violation.
        rounding = 2.0**-22 * np.maximum(np.abs(chunks), 1e-3)
        beyond = np.maximum(self._low - chunks, chunks - self._high)
        broken = beyond > rounding
        flags = {"position": broken.copy()}
        if self._limits_changes and chunks.shape[1] > 1:
            changes = np.abs(np.diff(chunks, axis=1))
            slack = rounding[:, 1:] + rounding[:, :-1]
            for rule, limit in (("step", self._step), ("velocity", self._velocity_step)):
                flags[rule] = np.zeros_like(broken)
                flags[rule][:, 1:] = changes > limit + slack
                broken |= flags[rule]
        if box is not None:
            places = self._places(chunks, box)
            beyond = np.maximum(box.low[:, None] - places, places - box.high[:, None])
            slack = np.cumsum(rounding[:, :, self._boxed], axis=1) + 2.0**-22 * np.abs(box.start[:, None])
            flags["workspace"] = np.zeros_like(broken)
            flags["workspace"][:, :, self._boxed] = beyond > slack
            broken |= flags["workspace"]

        scores = 1.0 - broken.reshape(len(chunks), -1).mean(axis=1)
        sent, possible = chunks, np.full(chunks.shape[:1], True)
        if self.mode != "report":
            sent, possible = self._clamped(chunks, box)
        verdicts = []
        for i in range(len(chunks)):
            refused = not possible[i] or (self.mode == "reject" and bool(broken[i].any()))
            if not broken[i].any() and not refused:
                verdicts.append(SafetyVerdict("pass", 1.0, [], sent[i].tolist()))
                continue
            place = None if box is None else (box.start[i], box.low[i], box.high[i])
            here = {rule: flag[i] for rule, flag in flags.items()}
            violations = self._violations(chunks[i], sent[i], here, place, refused)
            if refused:
                verdicts.append(SafetyVerdict("rejected", float(scores[i]), violations, []))
            else:
                verdict = "clamped" if self.mode == "clamp" else "pass"
                verdicts.append(SafetyVerdict(verdict, float(scores[i]), violations, sent[i].tolist()))
        return verdicts

    def _keep_all_limits(self, chunks: Chunks, box: _Box | None) -> bool:
        """Whether there is nothing to say about any of ``chunks``, as nearly always."""
        if (chunks < self._low).any() or (chunks > self._high).any():
            return False
        if self._limits_changes and (np.abs(chunks[:, 1:] - chunks[:, :-1]) > self._change).any():
            return False
        if box is None:
            return True
        places = self._places(chunks, box)
        return not ((places < box.low[:, None]).any() or (places > box.high[:, None]).any())

    def _places(self, chunks: Chunks, box: _Box) -> Chunks:
        """Where each step leads to, ``[batch, horizon, entry]``, in the entries that have a workspace."""
        return box.start[:, None] + np.cumsum(chunks[:, :, self._boxed], axis=1)

    def _box_from(self, states: Chunks | None) -> _Box | None:
        if not self.has_workspace:
            return None
        if states is None:
            raise ValueError("A checker with a workspace needs the states.")
        start = np.asarray(states, np.float64)[:, self._entries]
        return _Box(start, np.minimum(self._box_low, start), np.maximum(self._box_high, start))

    def _clamped(self, chunks: Chunks, box: _Box | None) -> tuple[Chunks, npt.NDArray[np.bool_]]:
        """The nearest chunks that keep the rules, and for which of them there is one."""
        safe = np.clip(chunks, self._low, self._high)
        possible = np.full(chunks.shape[:1], True)
        if not self._limits_changes and box is None:
            return safe, possible
        place = None if box is None else box.start.copy()
        for step in range(safe.shape[1]):
            low, high = np.broadcast_to(self._low, safe[:, 0].shape), np.broadcast_to(self._high, safe[:, 0].shape)
            if step:
                low = np.maximum(low, safe[:, step - 1] - self._change)
                high = np.minimum(high, safe[:, step - 1] + self._change)
            if box is not None and place is not None:
                low, high = low.copy(), high.copy()
                # A place inside the box never leaves it, and one outside comes no further out; so standing still keeps
                # this rule always, and only a limit of change can stand against it.
                low[:, self._boxed] = np.maximum(low[:, self._boxed], np.minimum(box.low - place, 0.0))
                high[:, self._boxed] = np.minimum(high[:, self._boxed], np.maximum(box.high - place, 0.0))
                possible &= (low <= high).all(axis=1)
            safe[:, step] = np.clip(safe[:, step], low, high)
            if place is not None:
                place += safe[:, step, self._boxed]
        return safe, possible

    def _violations(
        self,
        chunk: Chunks,
        sent: Chunks,
        flags: dict[str, npt.NDArray[np.bool_]],
        place: tuple[Chunks, Chunks, Chunks] | None,
        refused: bool,
    ) -> list[Violation]:
        """Every broken rule of one chunk, in the order of its steps. ``place`` is the box's start, low and high."""
        violations: list[Violation] = []
        for rule, flag in flags.items():
            for step, dimension in np.argwhere(flag):
                if rule == "workspace":
                    assert place is not None
                    column = int(np.flatnonzero(self._boxed == dimension)[0])
                    start, low, high = (float(ends[column]) for ends in place)
                    value = start + float(chunk[: step + 1, dimension].sum())
                    after = start + float(sent[: step + 1, dimension].sum())
                    limit = low if value < low else high
                elif rule == "position":
                    value, after = float(chunk[step, dimension]), float(sent[step, dimension])
                    limit = float(self._low[dimension] if value < self._low[dimension] else self._high[dimension])
                else:
                    factor = self._rate if rule == "velocity" else 1.0
                    value = float(chunk[step, dimension] - chunk[step - 1, dimension]) * factor
                    after = float(sent[step, dimension] - sent[step - 1, dimension]) * factor
                    limit = float((self._velocity if rule == "velocity" else self._step)[dimension])
                violations.append(
                    {
                        "step": int(step),
                        "dimension": self.names[dimension],
                        "rule": rule,
                        "value": value,
                        "limit": limit,
                        "sent": None if refused else after,
                    }
                )
        violations.sort(key=lambda v: (v["step"], self.names.index(v["dimension"])))
        return violations


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a batch's robots are and may go in the entries that have a workspace, each ``[batch, entry]``."""

    start: Chunks
    low: Chunks
    high: Chunks


def _limits(given: Iterable[float | None], without: float) -> Chunks:
    return np.array([without if limit is None else limit for limit in given], np.float64)
