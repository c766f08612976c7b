"""Advisory locks: work that one process at a time may do. PostgreSQL lets go when the holder dies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def held_by_one(name: str, *, wait: bool = False) -> Iterator[bool]:
    """Yield True to the one holder of the lock called ``name``, False at once to everybody else.

    Who is to ``wait`` gets True when it is his turn.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        take = "SELECT pg_advisory_lock(%s) IS NOT NULL" if wait else "SELECT pg_try_advisory_lock(%s)"
        cursor.execute(take, [number])
        mine = bool(cursor.fetchone()[0])
        try:
            yield mine
        finally:
            if mine:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
