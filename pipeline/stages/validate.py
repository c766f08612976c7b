"""Validate: JSON becomes numbers of the right shape, or the record goes to quarantine with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from pipeline.choices import Stage as StageName
from pipeline.stages import units
from pipeline.stages.base import Chunks, RecordSpec, Rejection, StageOutput, episode_spans, one_array, vectors

# How far beyond a limit a sent action may lie: float32 policies round.
LIMIT_TOLERANCE = 1e-4
# A pause between two records of an episode beyond this many times the episode's usual one is a gap.
GAP_FACTOR = 5.0
REPEATED = "duplicate_step"

_VECTOR = pa.list_(pa.float64())
_CHUNK = pa.list_(_VECTOR)
_JSON_COLUMNS = ("state_json", "actions_json", "proposed_json", "corrected_json", "images")

Flags = npt.NDArray[np.bool_]
Reasons = dict[int, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Validate:
    """Checks types, shapes, limits, units, timestamps, cameras and repeats.

    Turns ``state_json`` into ``state`` (``list<double> [state]``) and the ``…_json`` chunks into ``actions``,
    ``proposed_actions`` and ``corrected_actions`` (``list<list<double>> [steps][dimensions]``; null where there is
    none), ``images`` into ``map<camera, key>``, and adds ``quality``: remarks about records that are usable.
    Expects whole episodes, in the order of their steps.
    """

    spec: RecordSpec
    name = StageName.VALIDATE

    def __call__(self, table: pa.Table) -> StageOutput:
        dimensions = len(self.spec.action_names)
        state = _Column.read(table, "state_json", _VECTOR, _is_vector)
        actions, proposed, corrected = (
            _Column.read(table, name, _CHUNK, lambda value: _is_chunk(value, dimensions))
            for name in ("actions_json", "proposed_json", "corrected_json")
        )
        images = _parse(table, "images")
        rejected = self._rejections(table, state, actions, proposed, corrected, images)
        keep = [index for index in range(table.num_rows) if index not in rejected]
        kept = table.take(pa.array(keep, pa.int64())).drop_columns(list(_JSON_COLUMNS))
        for name, column in (
            ("state", state),
            ("actions", actions),
            ("proposed_actions", proposed),
            ("corrected_actions", corrected),
        ):
            kept = kept.append_column(name, column.values.take(pa.array(keep, pa.int64())))
        remarks = self._remarks(kept, [images[index] for index in keep])
        pairs = [list(images[index].items()) for index in keep]
        kept = kept.append_column("images", pa.array(pairs, pa.map_(pa.string(), pa.string())))
        kept = kept.append_column("quality", pa.array(remarks, pa.list_(pa.string())))
        ids = table.column("id").to_pylist()
        return StageOutput(
            kept,
            tuple(Rejection(ids[i], reason, detail) for i, (reason, detail) in sorted(rejected.items())),
            dict(Counter(remark for found in remarks for remark in found)),
        )

    def _rejections(
        self,
        table: pa.Table,
        state: _Column,
        actions: _Column,
        proposed: _Column,
        corrected: _Column,
        images: Sequence[Any],
    ) -> Reasons:
        """The first reason why, by position."""
        found: Reasons = {}
        verdicts = np.array(table.column("verdict").to_pylist(), dtype=object)
        steps = len(self.spec.action_names)
        _refuse(found, state.malformed, "state_malformed", "the state is not a list of finite numbers")
        lengths = pc.fill_null(pc.list_value_length(state.values), 0).to_numpy(zero_copy_only=False)
        for index in np.flatnonzero(lengths != len(self.spec.state_names)):
            expected = f"{lengths[index]} values, {len(self.spec.state_names)} expected"
            found.setdefault(int(index), ("state_length", expected))
        self._refuse_states_beyond_limits(found, state, np.flatnonzero(lengths == len(self.spec.state_names)))
        missing = actions.malformed | ~actions.given
        _refuse(found, missing, "actions_malformed", f"the actions are not rows of {steps} finite numbers")
        none_sent = actions.empty & (verdicts != "rejected")
        _refuse(found, none_sent, "actions_empty", "no actions, though the chunk was not rejected")
        _refuse(found, proposed.malformed, "proposed_malformed", "the proposed actions are not a chunk")
        broken = corrected.malformed | (corrected.given & corrected.empty)
        _refuse(found, broken, "correction_malformed", "the correction is not a chunk")
        self._refuse_beyond_limits(found, corrected, corrected.given, "correction_beyond_limits")
        self._refuse_beyond_limits(found, actions, verdicts == "clamped", "actions_beyond_limits")
        for index, keys in enumerate(images):
            if not isinstance(keys, dict):
                found.setdefault(index, ("images_malformed", "the images are not a map of cameras"))
            elif keys and not set(keys) <= set(self.spec.cameras):
                found.setdefault(index, ("unknown_camera", "a camera that the collection does not have"))
        future = pc.greater(table.column("created_at"), pa.scalar(self.spec.as_of, pa.timestamp("us", tz="UTC")))
        _refuse(found, future.to_numpy().astype(bool), "timestamp_in_future", "made after it was read")
        _refuse(found, _repeats(table), REPEATED, "this step of its episode is there twice")
        return found

    def _refuse_states_beyond_limits(self, found: Reasons, column: _Column, which: npt.NDArray[np.int64]) -> None:
        """``which`` are the positions of states of the right length."""
        if not self.spec.state_limits:
            return
        low, high = self.spec.state_bounds()
        states = vectors(column.values.take(pa.array(which)), len(low))
        outside = (states < low - LIMIT_TOLERANCE) | (states > high + LIMIT_TOLERANCE)
        for row, entry in zip(*np.nonzero(outside), strict=True):
            told = f"{self.spec.state_names[entry]}: {states[row, entry]:g}, not {low[entry]:g} to {high[entry]:g}"
            found.setdefault(int(which[row]), ("state_beyond_limits", told))

    def _refuse_beyond_limits(self, found: Reasons, column: _Column, which: Flags, reason: str) -> None:
        if not which.any():
            return
        chunks = Chunks.of(column.values, len(self.spec.action_names))
        outside = (chunks.rows < self.spec.low - LIMIT_TOLERANCE) | (chunks.rows > self.spec.high + LIMIT_TOLERANCE)
        owners = chunks.owners()
        for row, dimension in zip(*np.nonzero(outside), strict=True):
            index = int(owners[row])
            if which[index]:
                step = row - chunks.offsets[index]
                value = chunks.rows[row, dimension]
                found.setdefault(index, (reason, f"step {step}, {self.spec.action_names[dimension]}: {value:g}"))

    def _remarks(self, kept: pa.Table, images: Sequence[Mapping[str, str]]) -> list[list[str]]:
        """What is odd about usable records: a gap in time before one, missing steps or cameras, doubtful units."""
        found: list[list[str]] = [[] for _ in images]
        steps = kept.column("step").to_pylist()
        seconds = kept.column("created_at").cast(pa.int64()).to_numpy() / 1e6
        for span in episode_spans(kept):
            pauses = np.diff(seconds[span])
            usual = float(np.median(pauses)) if len(pauses) else 0.0
            stride = _usual_stride(steps[span])
            for index, pause in enumerate(pauses, start=span.start + 1):
                if pause < 0:
                    found[index].append("time_runs_backwards")
                elif usual > 0 and pause > GAP_FACTOR * usual:
                    found[index].append("gap_in_time")
                step, before = steps[index], steps[index - 1]
                if step is not None and before is not None and step >= before + 2 * stride:
                    found[index].append("steps_missing")
        for index, keys in enumerate(images):
            if keys and len(keys) != len(self.spec.cameras):
                found[index].append("camera_missing")
        self._doubt_units(kept, found)
        return found

    def _doubt_units(self, kept: pa.Table, found: list[list[str]]) -> None:
        """Remark, on every record of an episode, what of its states or actions cannot be in its unit."""
        spec = self.spec
        of_state, of_actions = units.known(spec.state_units), units.known(spec.action_units)
        if not any(of_state) and not any(of_actions):
            return
        states = vectors(kept.column("state"), len(spec.state_names))
        chunks = Chunks.of(kept.column("actions"), len(spec.action_names))
        for span in episode_spans(kept):
            rows = chunks.rows[chunks.offsets[span.start] : chunks.offsets[span.stop]]
            remarks = [
                *units.too_large(states[span], spec.state_names, of_state),
                *units.too_small(states[span], spec.state_names, of_state),
                *units.too_large(rows, spec.action_names, of_actions),
            ]
            for index in range(span.start, span.stop) if remarks else ():
                found[index] += remarks


@dataclass(frozen=True, slots=True)
class _Column:
    """A JSON column as numbers: ``malformed`` marks what is there and is not of the type; its value is then null."""

    values: pa.Array
    malformed: Flags

    @classmethod
    def read(cls, table: pa.Table, name: str, kind: pa.DataType, is_good: Callable[[Any], bool]) -> _Column:
        texts = one_array(table.column(name))
        values = _in_arrow(texts, kind)
        if values is not None and _holds_good_lists(values, is_good):
            return cls(values, np.zeros(len(texts), dtype=bool))
        parsed = _parse(table, name)
        bad = np.array([value is not None and not is_good(value) for value in parsed], dtype=bool)
        good = [None if wrong else value for value, wrong in zip(parsed, bad, strict=True)]
        return cls(pa.array(good, kind), bad)

    @property
    def given(self) -> Flags:
        return np.asarray(self.values.is_valid().to_numpy(zero_copy_only=False))

    @property
    def empty(self) -> Flags:
        """Given, and without a single entry."""
        lengths = pc.fill_null(pc.list_value_length(self.values), -1)
        return np.asarray(lengths.to_numpy(zero_copy_only=False) == 0)


def _in_arrow(texts: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """A column of JSON texts of one ``kind``, read without a Python object for each number; None where one is not."""
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), kind)
    lines = pc.binary_join_element_wise('{"value":', texts.fill_null("null"), "}\n", "")
    data = lines.buffers()[2]
    try:
        table = pa_json.read_json(
            pa.BufferReader(data),
            # One block, one thread: other cores have their own workers.
            read_options=pa_json.ReadOptions(use_threads=False, block_size=data.size),
            parse_options=pa_json.ParseOptions(
                explicit_schema=pa.schema([("value", kind)]), unexpected_field_behavior="error"
            ),
        )
    except pa.ArrowInvalid:
        return None
    return one_array(table.column("value")) if table.num_rows == len(texts) else None


def _holds_good_lists(values: pa.Array, is_good: Callable[[Any], bool]) -> bool:
    """Whether nothing in a column needs a closer look: no nulls inside, and rows that are all as long as a good one."""
    inner = pc.list_flatten(values)
    if inner.null_count:
        return False
    if not pa.types.is_list(inner.type):
        return bool(pc.all(pc.is_finite(inner)).as_py() is not False)
    lengths = pc.unique(pc.list_value_length(inner)).to_pylist()
    numbers = pc.list_flatten(inner)
    fits = all(is_good([[0.0] * length]) for length in lengths)
    return fits and not numbers.null_count and pc.all(pc.is_finite(numbers)).as_py() is not False


def _parse(table: pa.Table, column: str) -> list[Any]:
    """The JSON of a text column; null stays None, and what cannot be read becomes a text, which is nowhere valid."""
    texts = ["null" if text is None else text for text in table.column(column).to_pylist()]
    try:
        return list(orjson.loads("[" + ",".join(texts) + "]"))
    except orjson.JSONDecodeError:
        return [_parse_one(text) for text in texts]


def _parse_one(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) in (int, float) and np.isfinite(float(v)) for v in value)


def _is_chunk(value: Any, dimensions: int) -> bool:
    return isinstance(value, list) and all(_is_vector(row) and len(row) == dimensions for row in value)


def _usual_stride(steps: Sequence[int | None]) -> float:
    """How many steps of an episode usually lie between two records: as many as are carried out of a chunk."""
    strides = np.diff(np.array([step for step in steps if step is not None], dtype=np.int64))
    forward = strides[strides > 0]
    return float(np.median(forward)) if len(forward) else 1.0


def _repeats(table: pa.Table) -> Flags:
    """The records whose step the record before, of the same episode, has too."""
    episodes = table.column("episode_id").to_pylist()
    steps = table.column("step").to_pylist()
    pairs = list(zip(episodes, steps, strict=True))
    return np.array([i > 0 and None not in pair and pair == pairs[i - 1] for i, pair in enumerate(pairs)], dtype=bool)


def _refuse(found: Reasons, which: Flags, reason: str, detail: str) -> None:
    for index in np.flatnonzero(which):
        found.setdefault(int(index), (reason, detail))
