"""The run's one CSV, put together from the rows that each shard's worker left beside its Parquet."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from core import object_store
from core.object_store import Block
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
# Memory that is new costs more than reading into it, so all of a CSV goes through the same few bytes.
BLOCK_BYTES = 1 << 20


class _Told(NamedTuple):
    """What a shard tells publishing: its summary, which holds the SHA-256 of its rows, and those rows."""

    summary: Mapping[str, Any]
    rows: BinaryIO


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
) -> Iterator[Block]:
    """The CSV, its header and then a shard at a time. Notes each piece in ``parts``, and merges into ``summary``.

    A block holds until the next but one is asked for.
    """
    first = header(parquet.PROCESSED_SCHEMA.names)
    parts.append(_Part(len(first), hashlib.sha256(first).hexdigest()))
    yield first
    block, other = (memoryview(bytearray(BLOCK_BYTES)) for _ in range(2))
    for told in _one_ahead(lambda shard: _told_by(shard, folder, summary.spec, shard.number in torn), shards):
        summary.merge(told.summary)
        size = 0
        with told.rows as rows:
            while filled := _fill(block, rows):
                yield block[:filled]
                size += filled
                block, other = other, block
        parts.append(_Part(size, told.summary["csv_sha256"]))


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
            return _Told(shard.summary, object_store.open(folder + layout.csv_part_name(shard.number)))
        except FileNotFoundError:
            pass
    table = parquet.read(folder + shard.file["path"])
    summary = Summary(spec)
    summary.add(table)
    rows = rows_of(table)
    return _Told({**summary.as_json(), "csv_sha256": hashlib.sha256(rows).hexdigest()}, io.BytesIO(rows))


def _unlike(entry: StoredObject, parts: Sequence[_Part]) -> list[int]:
    """Which of an object's ``parts``, by their place, do not read back as they should.

    Whole parts are hashed beside each other: of one object there could only be one after the other.
    """
    found: list[int] = []
    waiting: deque[tuple[int, memoryview, Future[str]]] = deque()
    largest = max(part.bytes for part in parts)
    idle = [memoryview(bytearray(largest)) for _ in range(HASHED_AT_ONCE + 1)]

    def settle() -> None:
        place, buffer, digest = waiting.popleft()
        if digest.result() != parts[place].sha256:
            found.append(place)
        idle.append(buffer)

    with object_store.open(entry.key) as source, ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        for place, part in enumerate(parts):
            buffer = idle.pop()
            filled = _fill(buffer[: part.bytes], source)
            waiting.append((place, buffer, pool.submit(_sha256, buffer[:filled])))
            if len(waiting) > HASHED_AT_ONCE:
                settle()
        while waiting:
            settle()
        if source.read(1):
            found.append(len(parts) - 1)
    return found


def _fill(buffer: memoryview, source: BinaryIO) -> int:
    """Read into ``buffer`` until it is full or nothing is left: a source may give less than it is asked for."""
    filled = 0
    while filled < len(buffer) and (read := source.readinto(buffer[filled:])):  # type: ignore[attr-defined]
        filled += read
    return filled


def _sha256(data: memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
