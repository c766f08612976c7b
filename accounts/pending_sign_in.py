"""Between the password and the code: who is about to log in, kept in a session that is nobody's yet."""

from __future__ import annotations

import time

from django.http import HttpRequest

from accounts.models import User

_KEY = "pending_sign_in"
_SECONDS = 10 * 60


def begin(request: HttpRequest, user: User, *, next_url: str) -> None:
    """Remember that ``user`` has given their password."""
    request.session[_KEY] = {"user": str(user.pk), "at": int(time.time()), "next": next_url}
    request.session.cycle_key()


def current(request: HttpRequest) -> User | None:
    """Who gave their password not long ago and has not given a code yet."""
    pending = request.session.get(_KEY)
    if pending is None or time.time() - pending["at"] > _SECONDS:
        return None
    return User.objects.filter(pk=pending["user"], is_active=True).first()


def finish(request: HttpRequest) -> str:
    """Forget about it; returns where to go next, which was checked when it began."""
    pending = request.session.pop(_KEY, None)
    return str(pending["next"]) if pending else ""
