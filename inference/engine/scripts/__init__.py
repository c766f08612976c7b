"""The engine's Lua scripts: each is one atomic step in Redis, read from the file of its name."""

from __future__ import annotations

from pathlib import Path

from accounts.rate_limits import TAKE_TOKEN_LUA

_FOLDER = Path(__file__).parent


def _read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")


SUBMIT = TAKE_TOKEN_LUA + _read("submit")
FINISH = _read("finish")
FAIL = _read("fail")
WITHDRAW = _read("withdraw")
SETTLE = _read("settle")
FORGET = _read("forget")
