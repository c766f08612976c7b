"""CSV that a spreadsheet may open: nothing in a cell is taken for a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from pipeline.stages.base import one_array

# What Excel, LibreOffice and Google Sheets begin a formula with (OWASP, "CSV Injection").
_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"


class CsvWriter:
    """Writes Arrow tables as CSV: lists and maps as JSON, times as RFC 3339, null as nothing."""

    def __init__(self, target: BinaryIO, columns: Sequence[str]) -> None:
        self._columns = columns
        self._target = target
        target.write(header(columns))

    def write(self, table: pa.Table) -> None:
        write_rows(self._target, table.select(self._columns))


def header(columns: Sequence[str]) -> bytes:
    return ",".join(columns).encode() + b"\n"


def write_rows(target: BinaryIO, table: pa.Table) -> None:
    """The rows alone: what was written apart may be put together."""
    cells = pa.table({name: cells_of(table.column(name)) for name in table.column_names})
    pa_csv.write_csv(cells, target, pa_csv.WriteOptions(include_header=False, quoting_style="needed"))


def cells_of(column: pa.ChunkedArray) -> pa.Array:
    """A column as it stands in cells; a text that begins like a formula gets an apostrophe in front."""
    array = one_array(column)
    kind = array.type
    if pa.types.is_string(kind):
        return pc.if_else(pc.match_substring_regex(array, _FORMULA), pc.binary_join_element_wise("'", array, ""), array)
    if pa.types.is_timestamp(kind):
        return pc.strftime(array, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_list(kind) and _is_numbers(kind):
        return _number_lists(array)
    if pa.types.is_nested(kind):
        return _json(array)
    return array


def _json(array: pa.Array) -> pa.Array:
    """Lists and maps as JSON; those that hold nothing, which most do not, without a look at each."""
    kind = array.type
    lists, empty = array, "[]"
    if pa.types.is_map(kind):
        lists, empty = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))), "{}"
    lengths = pc.list_value_length(lists)
    some = pc.greater(lengths, 0)
    values: list[Any] = array.filter(some).to_pylist(maps_as_pydicts="strict")
    texts = pa.array([orjson.dumps(value).decode() for value in values], pa.string())
    return pc.replace_with_mask(pc.if_else(pc.equal(lengths, 0), empty, pa.scalar(None, pa.string())), some, texts)


def _is_numbers(kind: pa.DataType) -> bool:
    return _is_numbers(kind.value_type) if pa.types.is_list(kind) else pa.types.is_floating(kind)


def _number_lists(array: pa.Array) -> pa.Array:
    """Lists of numbers, or of such lists, as JSON; all of it in Arrow, because chunks are most of a record."""
    inner = pc.list_flatten(array)
    texts = _number_lists(inner) if pa.types.is_list(inner.type) else pc.cast(inner, pa.string())
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), ",")
    wrapped = pc.binary_join_element_wise("[", joined, "]", "")
    return pc.if_else(array.is_valid(), wrapped, pa.nulls(len(array), pa.string()))
