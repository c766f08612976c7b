"""Proving the audit trail: every entry's content, signature and place, in memory that does not grow with the table."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from accounts import audit
from accounts.models import AuditHead, AuditLog

_SEPARATOR = "\x1f"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fault:
    """The first entry that cannot be what the application wrote; ``entry_id`` is None where it is gone altogether."""

    entry_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last entry of a chain that was found whole: how many entries it has, its id and its hash in hexadecimal."""

    entries: int
    entry_id: int
    hash: str


def verify_chain(anchors: dict[int, str] | None = None) -> Fault | ChainHead:
    """Walk the whole table in the order of the chain.

    The head that the application noted must be met on the way, or the last entries were removed.
    ``anchors`` maps ids to the hashes (hexadecimal) that earlier daily exports named as head; with them, a tail that
    was cut off and written anew is found too.
    """
    pending = dict(anchors or {})
    count, last_id, last_hash = 0, 0, b""
    # Read before the entries: what is appended meanwhile comes after it, and is walked too.
    head = AuditHead.objects.first()
    met_head = False
    for entry in _entries():
        reason = _fault(entry, last_hash, last_id)
        if reason:
            return Fault(entry.pk, reason)
        count, last_id, last_hash = count + 1, entry.pk, bytes(entry.hash)
        met_head = met_head or (head is not None and bytes(entry.signature) == bytes(head.entry_signature))
        if pending.pop(last_id, last_hash.hex()) != last_hash.hex():
            return Fault(last_id, _("differs from the entry that the daily export names"))
    if pending:
        missing = min(pending)
        return Fault(None, _("entry %(id)d, the head of a daily export, was removed") % {"id": missing})
    if (head is None and count) or (head is not None and not audit.is_proven(head)):
        return Fault(None, _("the note of which entry was the last was removed or changed by somebody else"))
    if head is not None and not met_head:
        return Fault(head.entry_id, _("was removed, with whatever else followed entry %(id)d") % {"id": last_id})
    return ChainHead(count, last_id, last_hash.hex())


def _entries() -> Iterator[Any]:
    """Every entry, oldest first, with ``changes`` as the very text that PostgreSQL hashes."""
    return AuditLog.objects.order_by("id").annotate(changes_text=Cast("changes", TextField())).iterator(chunk_size=2000)


def _fault(entry: Any, last_hash: bytes, last_id: int) -> str:
    """What is wrong with ``entry`` after the one with ``last_hash`` and ``last_id``; empty when nothing is."""
    if _hash(entry) != bytes(entry.hash):
        return _("was changed: its content does not have its hash")
    if not audit.is_signed(entry):
        return _("was inserted or changed by somebody other than the application: its signature is wrong")
    if bytes(entry.previous_hash) != last_hash:
        gap = " – ".join(str(end) for end in sorted({last_id + 1, entry.pk - 1})) if entry.pk - last_id > 1 else "?"
        return _("does not follow entry %(last)d: what stood between them (%(gap)s) was removed or moved") % {
            "last": last_id,
            "gap": gap,
        }
    return ""


def _hash(entry: Any) -> bytes:
    """SHA-256 as the database's ``audit_log_hash`` computes it; whoever can change rows can change that function."""
    parts = [
        bytes(entry.previous_hash).hex(),
        str(entry.pk),
        entry.action,
        str(entry.actor_id or ""),
        entry.actor_name,
        entry.resource_type,
        str(entry.resource_id or ""),
        entry.resource_name,
        str(entry.collection_id or ""),
        entry.changes_text,
        entry.ip_address or "",
        entry.request_id,
        str((entry.timestamp - _EPOCH) // timedelta(microseconds=1)),
        bytes(entry.signature).hex(),
    ]
    return hashlib.sha256(_SEPARATOR.join(parts).encode()).digest()
