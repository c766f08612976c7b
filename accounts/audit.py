"""The audit trail: who did what to which thing, when, from where, before and after.

Services call ``record`` in the transaction of the change itself, so that neither exists without the other.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import AuditLog
from core.request_ids import current_request_id


@dataclass(frozen=True, slots=True)
class AuditContext:
    """Who is acting, and from which address."""

    actor_id: uuid.UUID | None = None
    actor_name: str = ""
    ip_address: str | None = None


_context: ContextVar[AuditContext | None] = ContextVar("audit_context", default=None)


def bind_audit_context(context: AuditContext) -> None:
    _context.set(context)


def record(
    action: str,
    resource: models.Model,
    *,
    changes: Mapping[str, Any] | None = None,
    actor: Any = None,
    collection_id: uuid.UUID | None = None,
) -> AuditLog:
    """Append one entry about ``resource``.

    ``action`` is dotted, e.g. ``api_key.revoked``; ``changes`` maps a field to ``[before, after]``. The actor is the
    bound context's unless ``actor`` (a user or a service) is given; without either it is the system.
    """
    context = _context.get() or AuditContext()
    if actor is not None:
        name = actor.get_username() if hasattr(actor, "get_username") else getattr(actor, "name", str(actor))
        context = AuditContext(actor.pk, name, context.ip_address)
    identifier = resource.pk if isinstance(resource.pk, uuid.UUID) else None
    entry = AuditLog(
        action=action,
        actor_id=context.actor_id,
        actor_name=context.actor_name or "system",
        resource_type=resource._meta.model_name or "",
        resource_id=identifier,
        resource_name=str(resource)[:255],
        collection_id=collection_id or getattr(resource, "collection_id", None),
        changes=_plain(changes or {}),
        ip_address=context.ip_address,
        request_id=current_request_id(),
        timestamp=timezone.now(),
    )
    entry.signature = sign(entry)
    entry.previous_hash = entry.hash = b""  # the database's trigger sets both
    entry.save(force_insert=True)
    return entry


def sign(entry: AuditLog) -> bytes:
    """HMAC-SHA256 of an entry's content under a key derived from ``SECRET_KEY``, which the database does not hold."""
    key = hashlib.sha256(b"audit-signature:" + settings.SECRET_KEY.encode()).digest()
    content = [
        entry.action,
        str(entry.actor_id or ""),
        entry.actor_name,
        entry.resource_type,
        str(entry.resource_id or ""),
        entry.resource_name,
        str(entry.collection_id or ""),
        entry.changes,
        entry.ip_address or "",
        entry.request_id,
        entry.timestamp.isoformat(),
    ]
    return hmac.digest(key, orjson.dumps(content, option=orjson.OPT_SORT_KEYS), "sha256")


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The fields whose values differ, as ``{field: [before, after]}``."""
    return {name: [before.get(name), value] for name, value in after.items() if before.get(name) != value}


def _plain(value: Any) -> Any:
    """``value`` as JSON keeps it, so that the signature of a stored entry can be computed again."""
    return orjson.loads(orjson.dumps(value, default=_text, option=orjson.OPT_NON_STR_KEYS))


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
