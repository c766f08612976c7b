"""The audit trail: who did what to which thing, when, from where, before and after.

Services call ``record`` in the transaction of the change itself, so that neither exists without the other.
docs/audit.md says what the chain of entries proves.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import uuid
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.conf import settings
from django.db import connection, models, transaction
from django.utils import timezone

from accounts.models import AuditHead, AuditLog
from core.request_ids import current_request_id

# From here on PostgreSQL writes a float as a whole number, which would read back as another value than was signed.
_LARGEST_PLAIN_FLOAT = 1e15


@dataclass(frozen=True, slots=True)
class AuditContext:
    """Who is acting, and from which address."""

    actor_id: uuid.UUID | None = None
    actor_name: str = ""
    ip_address: str | None = None


_context: ContextVar[AuditContext | None] = ContextVar("audit_context", default=None)


def bind_audit_context(context: AuditContext) -> None:
    _context.set(context)


def current_audit_context() -> AuditContext:
    """The bound context; an empty one outside of a request."""
    return _context.get() or AuditContext()


@transaction.atomic(savepoint=False)  # what fails here undoes the change that it tells of
def record(
    action: str,
    resource: models.Model | type[models.Model],
    *,
    changes: Mapping[str, Any] | None = None,
    actor: Any = None,
    collection_id: uuid.UUID | None = None,
) -> AuditLog:
    """Append one entry about ``resource``, or about all rows of a model that is given itself.

    ``action`` is dotted, e.g. ``api_key.revoked``; ``changes`` maps a field to ``[before, after]``. The actor is the
    bound context's unless ``actor`` (a user or a service) is given; without either it is the system. From here to the
    end of the caller's transaction no other entry can be appended: record last, and keep the transaction short.
    """
    context = current_audit_context()
    if actor is not None:
        name = actor.get_username() if hasattr(actor, "get_username") else getattr(actor, "name", str(actor))
        context = AuditContext(actor.pk, name, context.ip_address)
    whole = isinstance(resource, type)
    identifier = getattr(resource, "pk", None)
    entry = AuditLog(
        action=action,
        actor_id=context.actor_id,
        actor_name=context.actor_name or "system",
        resource_type=resource._meta.model_name or "",
        resource_id=identifier if isinstance(identifier, uuid.UUID) else None,
        resource_name=str(resource._meta.verbose_name_plural if whole else resource)[:255],
        collection_id=collection_id or (None if whole else getattr(resource, "collection_id", None)),
        changes=_plain(changes or {}),
        ip_address=_normal_address(context.ip_address),
        request_id=current_request_id(),
        timestamp=timezone.now(),
        previous_hash=_head(),
        hash=b"",  # the database's trigger sets it
    )
    entry.signature = sign(entry, next(_signing_keys()))
    entry.save(force_insert=True)
    note_head(entry.pk, entry.signature)
    return entry


def sign(entry: AuditLog, key: bytes) -> bytes:
    """HMAC-SHA256 of an entry's content and of the hash before it: its place in the chain."""
    content = [
        bytes(entry.previous_hash).hex(),
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


def is_signed(entry: AuditLog) -> bool:
    """Whether the application signed this very entry at this very place, under the secret key or a fallback of it."""
    return any(hmac.compare_digest(sign(entry, key), bytes(entry.signature)) for key in _signing_keys())


def note_head(entry_id: int, entry_signature: bytes) -> None:
    """Note which entry is the last. In the transaction of the entry, under its lock."""
    proof = _head_proof(entry_id, entry_signature, next(_signing_keys()))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_head (id, entry_id, entry_signature, proof) VALUES (1, %s, %s, %s) ON CONFLICT (id) DO"
            " UPDATE SET entry_id = excluded.entry_id, entry_signature = excluded.entry_signature,"
            " proof = excluded.proof",
            [entry_id, entry_signature, proof],
        )


def is_proven(head: AuditHead) -> bool:
    """Whether the application itself said that this is the head."""
    signature, proof = bytes(head.entry_signature), bytes(head.proof)
    return any(hmac.compare_digest(_head_proof(head.entry_id, signature, key), proof) for key in _signing_keys())


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The fields whose values differ, as ``{field: [before, after]}``."""
    return {name: [before.get(name), value] for name, value in after.items() if before.get(name) != value}


def _signing_keys() -> Iterator[bytes]:
    """Derived from ``SECRET_KEY``, then from each of ``SECRET_KEY_FALLBACKS``; the database holds none of them."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        yield hashlib.sha256(b"audit-signature:" + secret.encode()).digest()


def _head() -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT audit_log_head()")
        (head,) = cursor.fetchone()
    return bytes(head)


def _head_proof(entry_id: int, entry_signature: bytes, key: bytes) -> bytes:
    return hmac.digest(key, b"head:%d:" % entry_id + entry_signature, "sha256")


def _normal_address(address: str | None) -> str | None:
    return str(ipaddress.ip_address(address.partition("%")[0])) if address else None  # PostgreSQL knows no zones


def _plain(value: Any) -> Any:
    """``value`` as JSON keeps it and PostgreSQL gives it back, so that a signature can be computed again."""
    return _stable(orjson.loads(orjson.dumps(value, default=_text, option=orjson.OPT_NON_STR_KEYS)))


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _stable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_stable(inner) for inner in value]
    if isinstance(value, float):
        return repr(value) if abs(value) >= _LARGEST_PLAIN_FLOAT else value + 0.0  # and no negative zero
    return value


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
