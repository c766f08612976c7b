"""What a stage is, and what it must know of the collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
        )


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


def list_column(arrays: Iterable[FloatArray | None]) -> pa.Array:
    """Vectors, each ``float64 [n]`` or None, as ``list<double>``."""
    values = list(arrays)
    lengths = np.array([0 if v is None else len(v) for v in values], dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    flat = np.concatenate([v for v in values if v is not None and len(v)] or [np.empty(0)])
    missing = np.array([v is None for v in values], dtype=bool)
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(flat, pa.float64()), mask=pa.array(missing, pa.bool_())
    )


def matrix_column(arrays: Iterable[FloatArray | None]) -> pa.Array:
    """Chunks, each ``float64 [steps][dimensions]`` or None, as ``list<list<double>>``."""
    values = list(arrays)
    rows = [row for v in values if v is not None for row in v]
    lengths = np.array([0 if v is None else len(v) for v in values], dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    missing = np.array([v is None for v in values], dtype=bool)
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), list_column(rows), mask=pa.array(missing, pa.bool_())
    )


def vectors(column: pa.ChunkedArray) -> list[FloatArray | None]:
    """The inverse of ``list_column``."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    flat = array.values.to_numpy(zero_copy_only=False)
    offsets = array.offsets.to_numpy()
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return [flat[offsets[i] : offsets[i + 1]] if valid[i] else None for i in range(len(array))]


def matrices(column: pa.ChunkedArray, dimensions: int) -> list[FloatArray | None]:
    """The inverse of ``matrix_column``: ``float64 [steps][dimensions]`` or None per record."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    inner = array.values
    flat = inner.values.to_numpy(zero_copy_only=False)
    inner_offsets = inner.offsets.to_numpy()
    offsets = array.offsets.to_numpy()
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return [
        flat[inner_offsets[offsets[i]] : inner_offsets[offsets[i + 1]]].reshape(-1, dimensions) if valid[i] else None
        for i in range(len(array))
    ]
