"""What a stage is, and what it must know of the collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collections_app.models import Collection
from pipeline.choices import Stage as StageName

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RecordSpec:
    """What the collection says of its records. Units are the action space's.

    ``low`` and ``high`` are ``float64 [dimensions]``, infinite where a dimension has no limit; ``as_of`` is the moment
    after which nothing is known: later feedback is not seen, later records lie in the future.
    """

    slug: str
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    low: FloatArray
    high: FloatArray
    horizon: int
    cameras: tuple[str, ...]
    rate_hz: float
    as_of: datetime
    state_units: tuple[str, ...] = ()
    state_limits: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, collection: Collection, *, as_of: datetime) -> RecordSpec:
        space = collection.action_space
        dimensions = list(space.dimensions.order_by("position"))
        return cls(
            slug=collection.slug,
            state_names=tuple(space.state_names),
            action_names=tuple(d.name for d in dimensions),
            action_units=tuple(d.unit for d in dimensions),
            low=np.array([-np.inf if d.low is None else d.low for d in dimensions]),
            high=np.array([np.inf if d.high is None else d.high for d in dimensions]),
            horizon=collection.horizon,
            cameras=tuple(collection.cameras),
            rate_hz=space.control_rate_hz,
            as_of=as_of,
            state_units=tuple(space.state_units) or ("",) * len(space.state_names),
            state_limits=space.state_limits,
        )

    def state_bounds(self) -> tuple[FloatArray, FloatArray]:
        """The least and the greatest that each entry of the state may be: ``float64 [entries]``, infinite for none."""
        pairs = [self.state_limits.get(name, (None, None)) for name in self.state_names]
        low = np.array([-np.inf if pair[0] is None else pair[0] for pair in pairs])
        return low, np.array([np.inf if pair[1] is None else pair[1] for pair in pairs])


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that a stage refuses: ``result_id`` names it, ``reason`` is one of a small vocabulary."""

    result_id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StageOutput:
    """The records that go on, those that do not, and what the stage counted."""

    table: pa.Table
    rejections: tuple[Rejection, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class Stage(Protocol):
    """A named function from table to table: no database, no clock, no randomness, so that a repeat gives the same."""

    name: StageName

    def __call__(self, table: pa.Table) -> StageOutput: ...


def episode_spans(table: pa.Table) -> Iterator[slice]:
    """Where each episode's records stand in a table in order; records without an episode are left out."""
    episodes = table.column("episode_id").to_pylist()
    for episode, group in groupby(range(len(episodes)), key=episodes.__getitem__):
        positions = list(group)
        if episode is not None:
            yield slice(positions[0], positions[-1] + 1)


@dataclass(frozen=True, slots=True)
class Chunks:
    """A column of chunks as one block: ``rows`` is ``float64 [all steps][dimensions]``, and record ``i`` has the rows
    from ``offsets[i]`` to before ``offsets[i + 1]``; a record without a chunk has none."""

    rows: FloatArray
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array, dimensions: int) -> Chunks:
        """The chunks of a ``list<list<double>>`` whose inner lists all have ``dimensions`` values."""
        array = one_array(column)
        rows = pc.list_flatten(pc.list_flatten(array)).to_numpy(zero_copy_only=False)
        return cls(rows.reshape(-1, dimensions), lengths_to_offsets(array))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def owners(self) -> npt.NDArray[np.int64]:
        """The record that each row belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def reduce(self, function: np.ufunc, values: FloatArray) -> FloatArray:
        """``function`` over each record's part of ``values``, ``[all steps][n]``; zero for a record without rows."""
        reduced = np.zeros((len(self.lengths), values.shape[1]))
        some = self.lengths > 0
        if some.any():
            reduced[some] = function.reduceat(values, self.offsets[:-1][some], axis=0)
        return reduced


def vectors(column: pa.ChunkedArray | pa.Array, size: int) -> FloatArray:
    """A ``list<double>`` without nulls, all of ``size``, as ``float64 [records][size]``."""
    return np.asarray(pc.list_flatten(one_array(column)).to_numpy(zero_copy_only=False)).reshape(-1, size)


def one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def lengths_to_offsets(lists: pa.Array) -> npt.NDArray[np.int64]:
    """Where each list begins and ends in ``list_flatten``; a null list is empty."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
