"""Result rows into PostgreSQL by COPY, which spares the formatting of every value into one long INSERT."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from django.db import connection, models

from inference.models import InferenceResult


def copy_results(results: Sequence[InferenceResult]) -> None:
    """Append ``results`` within the caller's transaction. Raises ``IntegrityError`` as INSERT does."""
    fields = InferenceResult._meta.concrete_fields
    json_columns = [index for index, field in enumerate(fields) if isinstance(field, models.JSONField)]
    names = [field.attname for field in fields]
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    table = connection.ops.quote_name(InferenceResult._meta.db_table)
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy,
    ):
        for result in results:
            row = [getattr(result, name) for name in names]
            for index in json_columns:
                if row[index] is not None:
                    row[index] = orjson.dumps(row[index]).decode()
            copy.write_row(row)
