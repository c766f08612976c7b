"""The run's one CSV, put together from the rows that each shard's worker left beside its Parquet."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from core import object_store
from pipeline.exports.spreadsheets import header, write_rows
from pipeline.models import RunShard, StoredObject
from pipeline.runs import parquet
from pipeline.runs.summary import Summary
from pipeline.stages.base import RecordSpec
from pipeline.storage import catalogue, layout
from pipeline.storage.catalogue import CorruptObjectError

NAME = "validated_data.csv"
# Parts that are hashed beside each other while a CSV is read back.
HASHED_AT_ONCE = 2


class _Told(NamedTuple):
    """What a shard tells publishing: its summary, which holds the SHA-256 of its rows, and those rows."""

    summary: Mapping[str, Any]
    rows: bytes


class _Part(NamedTuple):
    """A part of the CSV as it should read back."""

    bytes: int
    sha256: str


def rows_of(table: pa.Table) -> bytes:
    """A shard's part of the run's CSV."""
    sink = io.BytesIO()
    write_rows(sink, table)
    return sink.getvalue()


def publish(shards: Sequence[RunShard], folder: str, spec: RecordSpec, **owners: Any) -> tuple[StoredObject, Summary]:
    """Write the CSV below ``folder``, read it back, and tell what its ``shards`` said of themselves.

    What was read of a part is not compared with its SHA-256 before it is written, but when the whole is read back: a
    part that was torn is found there, made again from its shard's Parquet, and the CSV is written anew. Raises
    ``CorruptObjectError`` where it still does not read back.
    """
    torn: frozenset[int] = frozenset()
    for _attempt in range(2):
        summary = Summary(spec)
        parts: list[_Part] = []
        entry = catalogue.store_blocks(folder + NAME, _joined(shards, folder, summary, parts, torn), **owners)
        unlike = _unlike(entry, parts)
        torn = frozenset(shards[number - 1].number for number in unlike if number)
        if not unlike:
            return entry, summary
    raise CorruptObjectError(f"{entry.key} does not hold what was written to it.")


def _joined(
    shards: Sequence[RunShard], folder: str, summary: Summary, parts: list[_Part], torn: frozenset[int]
) -> Iterator[bytes]:
    """The CSV, its header and then a shard at a time. Notes each piece in ``parts``, and merges into ``summary``."""
    first = header(parquet.PROCESSED_SCHEMA.names)
    parts.append(_Part(len(first), hashlib.sha256(first).hexdigest()))
    yield first
    for told in _one_ahead(lambda shard: _told_by(shard, folder, summary.spec, shard.number in torn), shards):
        summary.merge(told.summary)
        parts.append(_Part(len(told.rows), told.summary["csv_sha256"]))
        yield told.rows


def _one_ahead(make: Callable[[RunShard], _Told], shards: Sequence[RunShard]) -> Iterator[_Told]:
    """``make`` of each shard in order, the next while the caller works on this one. ``make`` asks no database."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
        coming: deque[Future[_Told]] = deque()
        for shard in shards:
            coming.append(ahead.submit(make, shard))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _told_by(shard: RunShard, folder: str, spec: RecordSpec, torn: bool) -> _Told:
    """A shard's summary and rows as its worker left them, or else made again from its Parquet.

    The rows are gone where a publishing was cut off at its very end.
    """
    if not torn and "csv_sha256" in shard.summary:
        try:
            return _Told(shard.summary, object_store.get(folder + layout.csv_part_name(shard.number)))
        except FileNotFoundError:
            pass
    table = parquet.read(folder + shard.file["path"])
    summary = Summary(spec)
    summary.add(table)
    rows = rows_of(table)
    return _Told({**summary.as_json(), "csv_sha256": hashlib.sha256(rows).hexdigest()}, rows)


def _unlike(entry: StoredObject, parts: Iterable[_Part]) -> list[int]:
    """Which of an object's ``parts``, by their place, do not read back as they should.

    Whole parts are hashed beside each other: of one object there could only be one after the other.
    """
    found: list[int] = []
    waiting: deque[tuple[int, _Part, Future[str]]] = deque()

    def settle() -> None:
        place, part, digest = waiting.popleft()
        if digest.result() != part.sha256:
            found.append(place)

    with object_store.open(entry.key) as source, ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        place = -1
        for place, part in enumerate(parts):
            waiting.append((place, part, pool.submit(_sha256, _read(source, part.bytes))))
            if len(waiting) > HASHED_AT_ONCE:
                settle()
        while waiting:
            settle()
        if source.read(1):
            found.append(place)
    return found


def _read(source: BinaryIO, size: int) -> bytes:
    """``size`` bytes, or fewer where there are no more: a source may give less than it is asked for."""
    pieces = []
    while size and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
