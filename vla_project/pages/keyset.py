"""Pages of long lists: by the last row seen, so that page 10,000 costs what page 1 costs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db import models
from django.db.models import Q

from core.problems import invalid

Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, newest first. ``older`` is the cursor of the next page, empty on the last; ``newer`` says whether any
    rows stand before these."""

    rows: list[Row]
    older: str
    newer: bool


def page_of(queryset: models.QuerySet[Row], *, before: str, size: int = 25) -> Page[Row]:
    """The ``size`` newest rows of ``queryset``, or those before the cursor ``before``.

    The rows need ``created_at`` and a UUID primary key. Raises ``Problem`` 400 where the cursor is not one.
    """
    queryset = queryset.order_by("-created_at", "-pk")
    if before:
        moment, identifier = _read(before)
        # The first condition alone decides nothing; it lets PostgreSQL start the index scan at the right place.
        queryset = queryset.filter(created_at__lte=moment).filter(
            Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=identifier)
        )
    rows = list(queryset[: size + 1])
    older = _write(rows[size - 1]) if len(rows) > size else ""
    return Page(rows[:size], older, newer=bool(before))


def _write(row: Any) -> str:
    moment = row.created_at.astimezone(UTC)
    return f"{int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond}-{row.pk.hex}"


def _read(cursor: str) -> tuple[datetime, uuid.UUID]:
    microseconds, _, identifier = cursor.partition("-")
    try:
        whole, rest = divmod(int(microseconds), 1_000_000)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest), uuid.UUID(identifier)
    except (ValueError, OverflowError, OSError):
        raise invalid("/before", "This is not a cursor that a page of this list gave.") from None
