"""Validate: JSON becomes numbers of the right shape, or the record goes to quarantine with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pipeline.choices import Stage as StageName
from pipeline.stages.base import (
    FloatArray,
    RecordSpec,
    Rejection,
    StageOutput,
    episode_spans,
    list_column,
    matrix_column,
)

# How far beyond a limit a sent action may lie: float32 policies round.
LIMIT_TOLERANCE = 1e-4
# A pause between two records of an episode beyond this many times the episode's usual one is a gap.
GAP_FACTOR = 5.0


@dataclass(frozen=True, slots=True)
class Validate:
    """Checks types, shapes, limits, timestamps, cameras and repeats.

    Turns ``state_json`` into ``state`` (``list<double> [state]``) and the ``…_json`` chunks into ``actions``,
    ``proposed_actions`` and ``corrected_actions`` (``list<list<double>> [steps][dimensions]``; null where there is
    none), ``images`` into ``map<camera, key>``, and adds ``quality``: remarks about records that are usable.
    Expects whole episodes, in the order of their steps.
    """

    spec: RecordSpec
    name = StageName.VALIDATE

    def __call__(self, table: pa.Table) -> StageOutput:
        records = _Records(table, self.spec)
        rejected = records.rejections()
        keep = [index for index in range(table.num_rows) if index not in rejected]
        kept = table.take(pa.array(keep, pa.int64()))
        remarks = records.remarks(kept, keep)
        for column in ("state_json", "actions_json", "proposed_json", "corrected_json", "images"):
            kept = kept.drop_columns(column)
        kept = kept.append_column("state", list_column(records.states[i] for i in keep))
        for column, chunks in (
            ("actions", records.actions),
            ("proposed_actions", records.proposed),
            ("corrected_actions", records.corrected),
        ):
            kept = kept.append_column(column, matrix_column(chunks[i] for i in keep))
        images = [list(records.images[i].items()) for i in keep]
        kept = kept.append_column("images", pa.array(images, pa.map_(pa.string(), pa.string())))
        kept = kept.append_column("quality", pa.array(remarks, pa.list_(pa.string())))
        ids = table.column("id").to_pylist()
        return StageOutput(
            kept,
            tuple(Rejection(ids[i], reason, detail) for i, (reason, detail) in sorted(rejected.items())),
            dict(Counter(remark for found in remarks for remark in found)),
        )


class _Records:
    """The parsed columns of a table, a position per record."""

    def __init__(self, table: pa.Table, spec: RecordSpec) -> None:
        self._table = table
        self._spec = spec
        dimensions = len(spec.action_names)
        self.states = [_vector(value) for value in _parse(table, "state_json")]
        self.actions = [_chunk(value, dimensions) for value in _parse(table, "actions_json")]
        self._raw_proposed = _parse(table, "proposed_json")
        self.proposed = [_chunk(value, dimensions) for value in self._raw_proposed]
        self._raw_corrected = _parse(table, "corrected_json")
        self.corrected = [_chunk(value, dimensions) for value in self._raw_corrected]
        self._raw_images = _parse(table, "images")
        self.images: list[Mapping[str, str]] = [value if isinstance(value, dict) else {} for value in self._raw_images]

    def rejections(self) -> dict[int, tuple[str, str]]:
        """The first reason, by position."""
        found: dict[int, tuple[str, str]] = {}
        previous: tuple[Any, Any] | None = None
        created = self._table.column("created_at").to_pylist()
        episodes = self._table.column("episode_id").to_pylist()
        steps = self._table.column("step").to_pylist()
        verdicts = self._table.column("verdict").to_pylist()
        for index in range(self._table.num_rows):
            problem = self._problem(index, verdicts[index])
            if problem is None and created[index] > self._spec.as_of:
                problem = ("timestamp_in_future", created[index].isoformat())
            if episodes[index] is not None and steps[index] is not None:
                if problem is None and (episodes[index], steps[index]) == previous:
                    problem = ("duplicate_step", f"step {steps[index]} of its episode is there twice")
                previous = (episodes[index], steps[index])
            if problem is not None:
                found[index] = problem
        return found

    def _problem(self, index: int, verdict: str) -> tuple[str, str] | None:
        spec = self._spec
        state, actions = self.states[index], self.actions[index]
        if state is None:
            return "state_malformed", "the state is not a list of finite numbers"
        if len(state) != len(spec.state_names):
            return "state_length", f"{len(state)} values, {len(spec.state_names)} expected"
        if actions is None:
            return "actions_malformed", f"the actions are not rows of {len(spec.action_names)} finite numbers"
        if verdict != "rejected" and len(actions) == 0:
            return "actions_empty", f"no actions, though the verdict is {verdict}"
        if self._raw_proposed[index] is not None and self.proposed[index] is None:
            return "proposed_malformed", "the proposed actions are not a chunk"
        if self._raw_corrected[index] is not None:
            corrected = self.corrected[index]
            if corrected is None or len(corrected) == 0:
                return "correction_malformed", "the correction is not a chunk"
            beyond = self._beyond_limits(corrected)
            if beyond:
                return "correction_beyond_limits", beyond
        if not isinstance(self._raw_images[index], dict):
            return "images_malformed", "the images are not a map of cameras"
        unknown = sorted(set(self.images[index]) - set(spec.cameras))
        if unknown:
            return "unknown_camera", f"{len(unknown)} cameras that the collection does not have"
        if verdict == "clamped":
            beyond = self._beyond_limits(actions)
            if beyond:
                return "actions_beyond_limits", beyond
        return None

    def _beyond_limits(self, chunk: FloatArray) -> str:
        outside = (chunk < self._spec.low - LIMIT_TOLERANCE) | (chunk > self._spec.high + LIMIT_TOLERANCE)
        if not outside.any():
            return ""
        step, dimension = np.argwhere(outside)[0]
        return f"step {step}, {self._spec.action_names[dimension]}: {chunk[step, dimension]:g}"

    def remarks(self, kept: pa.Table, positions: Sequence[int]) -> list[list[str]]:
        """What is odd about the records that were kept: a gap in time before one, missing steps, missing cameras.

        ``positions`` are theirs in the whole table.
        """
        found: list[list[str]] = [[] for _ in positions]
        steps = kept.column("step").to_pylist()
        seconds = kept.column("created_at").cast(pa.int64()).to_numpy() / 1e6
        for span in episode_spans(kept):
            pauses = np.diff(seconds[span])
            usual = float(np.median(pauses)) if len(pauses) else 0.0
            for index, pause in enumerate(pauses, start=span.start + 1):
                if pause < 0:
                    found[index].append("time_runs_backwards")
                elif usual > 0 and pause > GAP_FACTOR * usual:
                    found[index].append("gap_in_time")
                step, before = steps[index], steps[index - 1]
                if step is not None and before is not None and step > before + 1:
                    found[index].append("steps_missing")
        for index, position in enumerate(positions):
            if self.images[position] and set(self.images[position]) != set(self._spec.cameras):
                found[index].append("camera_missing")
        return found


def _parse(table: pa.Table, column: str) -> list[Any]:
    """The JSON of a text column, all of it in one call; null stays None."""
    texts = ["null" if text is None else text for text in table.column(column).to_pylist()]
    return list(orjson.loads("[" + ",".join(texts) + "]"))


def _vector(value: Any) -> FloatArray | None:
    """``float64 [n]``, or None where ``value`` is no list of finite numbers."""
    if not isinstance(value, list) or not all(type(entry) in (int, float) for entry in value):
        return None
    array = np.array(value, dtype=np.float64)
    return array if np.isfinite(array).all() else None


def _chunk(value: Any, dimensions: int) -> FloatArray | None:
    """``float64 [steps][dimensions]``, or None where ``value`` is no such list; no steps is a chunk too."""
    if not isinstance(value, list):
        return None
    rows = [_vector(row) for row in value]
    if any(row is None or len(row) != dimensions for row in rows):
        return None
    return np.array(rows, dtype=np.float64).reshape(-1, dimensions)
