"""JSON as strict as a robot's command deserves: what is doubtful is refused, not guessed.

orjson refuses NaN, infinities, lone surrogates, invalid UTF-8 and integers beyond 64 bits. This module adds a cap on
depth and refuses NUL characters, which PostgreSQL cannot store, and duplicate keys, of which one would silently win.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from core.problems import FieldError, Problem

MAX_DEPTH = 32
# Bodies beyond this hold images; finding their duplicate keys needs only the structure, which images do not have.
_ESCAPED_NUL = b"\\u0000"


def loads(body: bytes) -> Any:
    """Decode ``body``. Raises ``Problem`` 400 ``malformed_json`` with the reason."""
    if _exceeds_depth(body):
        raise _malformed(f"JSON is nested deeper than {MAX_DEPTH} levels.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _malformed(f"The body is not valid JSON: {error.msg} at byte {error.pos}.") from None
    # The search for one byte is far quicker, and base64 holds no backslash. A raw NUL was refused by orjson.
    if b"\\" in body and _ESCAPED_NUL in body:
        raise _malformed("Text may not hold the NUL character.")
    return value


def refuse_duplicate_keys(body: bytes, value: Any) -> None:
    """Raise ``Problem`` 400 where an object of ``body``, decoded as ``value``, names a key twice.

    Every key has its colon: where there are no more colons than keys, none was lost, and the second parse is spared.
    """
    if body.count(b":") == _count_keys(value):
        return

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise Problem(
                400, "malformed_json", "A key is given twice.", errors=[FieldError(f"/{twice}", "Given twice.")]
            )
        return found

    json.loads(body, object_pairs_hook=pairs)


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_count_keys, value.values()))
    if isinstance(value, list):
        return sum(map(_count_keys, value))
    return 0


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed_json", detail)


def _exceeds_depth(body: bytes) -> bool:
    """Whether brackets outside strings nest deeper than allowed; a cheap look spares almost every body the walk."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    position = 0
    in_string = False
    end = len(body)
    while position < end:
        byte = body[position]
        if in_string:
            quote = body.find(b'"', position)
            if quote < 0:
                return False
            backslashes = 0
            while body[quote - 1 - backslashes] == 0x5C:
                backslashes += 1
            position = quote + 1
            if backslashes % 2 == 0:
                in_string = False
            continue
        if byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif byte in (0x5D, 0x7D):
            depth -= 1
        position += 1
    return False
