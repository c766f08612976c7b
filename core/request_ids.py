"""The id that follows one request through logs, answers, tasks and the audit trail."""

from __future__ import annotations

import re
from contextvars import ContextVar

from core.identifiers import uuid7

_VALID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_current: ContextVar[str] = ContextVar("request_id", default="")


def accept_request_id(offered: str | None) -> str:
    """The caller's own id where it is 1 to 64 plain characters (it ends up in logs), a new one otherwise."""
    return offered if offered and _VALID.fullmatch(offered) else str(uuid7())


def bind_request_id(request_id: str) -> None:
    _current.set(request_id)


def current_request_id() -> str:
    """The id of the request or task being served; empty outside of one."""
    return _current.get()
