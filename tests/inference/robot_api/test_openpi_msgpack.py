"""openpi's msgpack dialect, byte for byte, and what is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from core.problems import Problem
from inference.robot_api.openpi_msgpack import pack, unpack_map
from tests.inference.robot_api import openpi_client

# What openpi-client 0.1.2 writes, recorded from its own code.
RECORDED = {
    "81a17384c40b5f5f6e6461727261795f5fc3c40464617461c4020102c4056474797065a37c7531c40573686170659201 02": {
        "s": np.array([[1, 2]], np.uint8)
    },
    "81a173 83c40d5f5f6e7067656e657269635f5fc3c40464617461cb3ff8000000000000c4056474797065a33c6634": {
        "s": np.float32(1.5)
    },
}


@pytest.mark.parametrize(("frame", "value"), RECORDED.items())
def test_the_bytes_are_those_of_the_published_client(frame: str, value: dict[str, Any]) -> None:
    assert pack(value) == bytes.fromhex(frame)
    read = unpack_map(bytes.fromhex(frame))["s"]
    np.testing.assert_array_equal(read, value["s"])
    assert read.dtype == value["s"].dtype


@given(
    arrays.arrays(
        dtype=st.one_of(
            arrays.integer_dtypes(), arrays.unsigned_integer_dtypes(), arrays.floating_dtypes(), arrays.boolean_dtypes()
        ),
        shape=arrays.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5),
    )
)
def test_arrays_of_every_plain_type_and_order_survive_both_ways(array: np.ndarray) -> None:
    for read in (
        unpack_map(openpi_client.pack({"x": array.T}))["x"],
        openpi_client.unpack(pack({"x": array.T}))["x"],
    ):
        np.testing.assert_array_equal(read, array.T)
        assert read.dtype == array.dtype


def encoded(**changes: Any) -> bytes:
    body = {b"__ndarray__": True, b"data": bytes(8), b"dtype": "<f4", b"shape": [2], **changes}
    return bytes(msgpack.packb({"x": {k if isinstance(k, bytes) else k.encode(): v for k, v in body.items()}}))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        msgpack.packb([1, 2]),
        msgpack.packb({"a": 1}) + b"\x00",
        encoded(dtype="|O"),
        encoded(dtype="<c8"),
        encoded(dtype="|V8"),
        encoded(dtype="no such type"),
        encoded(shape=[3]),
        encoded(shape=[-1, -2]),
        encoded(shape=[2**62, 4]),
        encoded(shape=2),
        encoded(data="text"),
        encoded(data=None),
        msgpack.packb({"x": {b"__ndarray__": True}}),
        msgpack.packb({"x": {b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}}),
        b"\x81" * 4000,
    ],
)
def test_what_is_no_map_of_plain_arrays_is_refused_as_malformed(frame: bytes) -> None:
    with pytest.raises(Problem) as refused:
        unpack_map(frame)
    assert (refused.value.status, refused.value.code) == (400, "malformed_msgpack")


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.binary())
names = st.sampled_from([b"__ndarray__", b"__npgeneric__", "nd", b"data", b"dtype", "type", b"shape", "x"])
types = st.sampled_from(["<f4", "|u1", "|O", "<U4", "<M8[s]", "|b1", "(2,3)f4", "f4,i4"])
values = st.recursive(
    st.one_of(scalars, types),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=5)),
    max_leaves=12,
)


@given(st.one_of(st.dictionaries(names, values).map(msgpack.packb), st.binary(max_size=200)))
def test_whatever_a_robot_sends_is_read_or_refused_and_nothing_else(frame: bytes) -> None:
    try:
        read: Any = unpack_map(frame)
    except Problem as problem:
        read = problem
    assert isinstance(read, dict) or read.status == 400
