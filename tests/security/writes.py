"""What a request wrote, seen in the SQL itself: cheaper than to compare tables, and blind to nothing that changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, models

_WRITE = re.compile(r'\s*(INSERT INTO|UPDATE|DELETE FROM)\s+"(\w+)"', re.IGNORECASE)


@contextmanager
def writes_to(watched: Iterable[type[models.Model]]) -> Iterator[list[str]]:
    """Fills the list with a line for each statement that touched a row of ``watched``, undone later or not."""
    tables = {model._meta.db_table for model in watched}
    found: list[str] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        written = _WRITE.match(sql)
        if written and written[2] in tables and context["cursor"].rowcount:
            found.append(f"{written[1]} {written[2]}")
        return result

    with connection.execute_wrapper(note):
        yield found
