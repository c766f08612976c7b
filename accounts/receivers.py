"""News of logging in and out and of lists taken along, for the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models import Model
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from core.signals import list_downloaded


def connect() -> None:
    user_logged_in.connect(_logged_in, dispatch_uid="audit")
    user_logged_out.connect(_logged_out, dispatch_uid="audit")
    user_login_failed.connect(_login_failed, dispatch_uid="audit")
    list_downloaded.connect(_list_downloaded, dispatch_uid="audit")


def _logged_in(user: User, request: HttpRequest, **_kwargs: Any) -> None:
    audit.record("user.logged_in", user, actor=user)


def _logged_out(user: User | None, **_kwargs: Any) -> None:
    if user is not None:
        audit.record("user.logged_out", user, actor=user)


def _login_failed(credentials: Mapping[str, Any], **_kwargs: Any) -> None:
    """Of an account that does not exist nothing is kept: people type passwords where their name belongs."""
    user = User.objects.filter(username=credentials.get("username", "")).first()
    audit.record("user.login_failed", user or User(pk=None, username="(unknown)"))


def _list_downloaded(
    sender: type[Model], query: Mapping[str, str], collection_id: UUID | None = None, **_kwargs: Any
) -> None:
    changes = {"query": [None, dict(query)]}
    audit.record(f"{sender._meta.model_name}.downloaded", sender, changes=changes, collection_id=collection_id)
