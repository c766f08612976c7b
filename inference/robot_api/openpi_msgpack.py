"""msgpack with numpy arrays, in openpi's dialect.

An array is a map with the *binary* keys ``__ndarray__``, ``data`` (C order), ``dtype`` and ``shape``; a scalar one with
``__npgeneric__``. Source: openpi-client 0.1.2, ``msgpack_numpy.py``. Object, void and complex types are refused both
ways; sizes are checked before memory is taken. Text keys and msgpack-numpy's dialect (``nd``) are understood too.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np

from core.problems import Problem

_REFUSED_KINDS = "VOc"
_LIMIT = 16 * 1024 * 1024


def pack(value: Any) -> bytes:
    """``value`` with its arrays, as bytes."""
    return bytes(msgpack.packb(value, default=_encode, use_bin_type=True))


def unpack_map(body: bytes) -> dict[str, Any]:
    """A map from a robot. Raises ``Problem`` 400 ``malformed_msgpack``."""
    try:
        value = msgpack.unpackb(
            body,
            object_hook=_decode,
            raw=False,
            strict_map_key=False,
            max_bin_len=_LIMIT,
            max_str_len=_LIMIT,
            max_array_len=1_000_000,
            max_map_len=10_000,
        )
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError, msgpack.UnpackException) as error:
        raise Problem(
            400, "malformed_msgpack", f"The body is not valid msgpack: {error or type(error).__name__}."
        ) from None
    if not isinstance(value, dict):
        raise Problem(400, "malformed_msgpack", "The body must be a map.")
    return {k.decode("utf-8", "replace") if isinstance(k, bytes) else str(k): v for k, v in value.items()}


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind not in _REFUSED_KINDS:
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic) and value.dtype.kind not in _REFUSED_KINDS:
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"Cannot pack {type(value).__name__}.")


def _decode(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found or "__ndarray__" in found:
        return _array(_get(found, "data"), _get(found, "dtype"), _get(found, "shape"))
    if b"__npgeneric__" in found or "__npgeneric__" in found:
        return _dtype(_get(found, "dtype")).type(_get(found, "data"))
    if (b"nd" in found or "nd" in found) and _get(found, "nd") is True:
        return _array(_get(found, "data"), _get(found, "type"), _get(found, "shape"))
    return found


def _get(found: dict[Any, Any], name: str) -> Any:
    return found[name.encode()] if name.encode() in found else found[name]


def _dtype(name: Any) -> np.dtype[Any]:
    dtype = np.dtype(name.decode() if isinstance(name, bytes) else name)
    if dtype.kind in _REFUSED_KINDS or dtype.hasobject:
        raise ValueError(f"arrays of type {dtype} are refused")
    return dtype


def _array(data: Any, name: Any, shape: Any) -> np.ndarray:
    dtype = _dtype(name)
    if not all(isinstance(side, int) and side >= 0 for side in shape) or len(shape) > 8:
        raise ValueError("an array's shape is not valid")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array's data does not fill its shape")
    return np.frombuffer(data, dtype).reshape(shape)
