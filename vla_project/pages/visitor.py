from __future__ import annotations

from django.http import HttpRequest

from accounts.models import User


def visitor_of(request: HttpRequest) -> User:
    """The person behind a request that ``login_required`` let through."""
    assert isinstance(request.user, User)
    return request.user
