"""What searches found, remembered until something that they looked at changes.

The key holds what was asked, the collections that the caller may read, and a token of each of them, which every change
there replaces; so callers with the same rights share an answer, and nobody gets one from before a change. Only ids are
remembered: the rows are read anew, and by permission, each time.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import orjson
from django.core.cache import cache
from django.db import connection, transaction

from accounts.principals import Principal
from collections_app.models import Collection

SECONDS = 600
# Tokens outlive what was remembered with them: one that is missing is made anew, and never as it was.
TOKEN_SECONDS = 24 * 60 * 60
# Whoever may read more collections than this asks a question that hardly anybody repeats.
MOST_COLLECTIONS = 300

Readable: TypeAlias = list[uuid.UUID] | None


def readable(principal: Principal, *, collection: str | None) -> Readable:
    """The collections that ``principal`` may read, or the one of this slug; None where they are too many to count."""
    rows = Collection.objects.restrict(principal)
    if collection is not None:
        rows = rows.filter(slug=collection)
    found = sorted(rows.order_by().values_list("pk", flat=True).distinct()[: MOST_COLLECTIONS + 1])
    return found if len(found) <= MOST_COLLECTIONS else None


def key_of(collections: Readable, asked: Mapping[str, Any]) -> str | None:
    """Where the answer to ``asked`` is remembered for whoever may read ``collections``; None where it is not."""
    if not collections:
        return None
    told = orjson.dumps([_tokens(collections), asked], option=orjson.OPT_SORT_KEYS, default=str)
    return f"search:found:{hashlib.sha256(told).hexdigest()}"


def recall(key: str | None) -> Any:
    """What was kept at ``key``, or None."""
    return None if key is None else cache.get(key)


def keep(key: str | None, found: Any) -> None:
    """Keep ``found``, which JSON can say, at ``key``."""
    if key is not None:
        cache.set(key, found, timeout=SECONDS)


def forget(collection_ids: Iterable[uuid.UUID]) -> None:
    """Something changed in these collections: vectors, feedback, labels. Nothing found there before is told again."""
    changed = list(collection_ids)
    if not changed:
        return
    _renew(changed)
    if connection.in_atomic_block:
        # Others read the old rows until the commit, and may have kept what they found.
        transaction.on_commit(partial(_renew, changed))


def _tokens(identifiers: list[uuid.UUID]) -> dict[str, str]:
    keys = [_token_key(identifier) for identifier in identifiers]
    known: dict[str, str] = cache.get_many(keys)
    for key in keys:
        if key not in known:
            cache.add(key, secrets.token_hex(8), timeout=TOKEN_SECONDS)
            known[key] = cache.get(key) or secrets.token_hex(8)
    return known


def _renew(identifiers: Iterable[uuid.UUID]) -> None:
    tokens = {_token_key(identifier): secrets.token_hex(8) for identifier in identifiers}
    cache.set_many(tokens, timeout=TOKEN_SECONDS)


def _token_key(identifier: uuid.UUID) -> str:
    return f"search:token:{identifier}"
