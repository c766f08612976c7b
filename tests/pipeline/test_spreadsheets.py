"""Cells: what each type of column looks like in a CSV."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from pipeline.exports.spreadsheets import cells_of

TEXTS = pa.list_(pa.string())
NAMES = pa.map_(pa.string(), pa.string())
CHUNK = pa.list_(pa.list_(pa.float64()))


@pytest.mark.parametrize(
    ("kind", "values", "cells"),
    [
        (TEXTS, [["a", 'b"'], [], None, ["ü", None]], ['["a","b\\""]', "[]", None, '["ü",null]']),
        (TEXTS, [[], []], ["[]", "[]"]),
        (TEXTS, [None], [None]),
        (TEXTS, [], []),
        (NAMES, [[("wrist", "1/wrist")], [], None], ['{"wrist":"1/wrist"}', "{}", None]),
        (NAMES, [[], None], ["{}", None]),
        (CHUNK, [[[0.5, -1.0], [1e-9, 2.0]], [], None, [[]]], ["[[0.5,-1],[1e-9,2]]", "[]", None, "[[]]"]),
        (pa.string(), ["=1+1", "safe", "", None, "＋1"], ["'=1+1", "safe", "", None, "'＋1"]),
        (pa.timestamp("us", "UTC"), [datetime(2026, 5, 4, 3, 2, 1, 7, UTC)], ["2026-05-04T03:02:01.000007Z"]),
    ],
)
def test_cells(kind: pa.DataType, values: list[Any], cells: list[str | None]) -> None:
    column = pa.chunked_array([pa.array(values, kind)])

    assert cells_of(column).to_pylist() == cells


def test_a_column_in_several_pieces_gives_the_cells_of_one() -> None:
    pieces = [pa.array([["a"], []], TEXTS), pa.array([None, ["b"]], TEXTS).slice(1)]

    assert cells_of(pa.chunked_array(pieces)).to_pylist() == ['["a"]', "[]", '["b"]']
