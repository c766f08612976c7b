"""openpi's wire format as openpi-client 0.1.2 writes and reads it, independent of this system's own code."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np


def pack(observation: dict[str, Any]) -> bytes:
    return bytes(msgpack.packb(observation, default=_encode))


def unpack(frame: bytes) -> Any:
    return msgpack.unpackb(frame, object_hook=_decode)


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(type(value).__name__)


def _decode(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found:
        return np.ndarray(buffer=found[b"data"], dtype=np.dtype(found[b"dtype"]), shape=found[b"shape"])
    if b"__npgeneric__" in found:
        return np.dtype(found[b"dtype"]).type(found[b"data"])
    return found
