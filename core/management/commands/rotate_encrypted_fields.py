from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import connection

from core.fields import EncryptedTextField, fernet


class Command(BaseCommand):
    help = (
        "Encrypt every encrypted field anew with the first of FIELD_ENCRYPTION_KEYS. Put the new key first, restart, "
        "run this, then remove the old key."
    )

    def handle(self, **_options: Any) -> None:
        for model in apps.get_models():
            for field in model._meta.local_concrete_fields:
                if isinstance(field, EncryptedTextField):
                    count = _rotate(model._meta.db_table, str(model._meta.pk.column), str(field.column))
                    self.stdout.write(f"{model._meta.label}.{field.name}: {count}")


def _rotate(table: str, primary_key: str, column: str) -> int:
    """Move one column to the first key; a row that somebody changes meanwhile has the first key already."""
    # Names come from our models and are quoted; values are parameters.
    key, value, rows = (connection.ops.quote_name(name) for name in (primary_key, column, table))
    select = f"SELECT {key}, {value} FROM {rows} WHERE {value} <> ''"  # nosec B608
    update = f"UPDATE {rows} SET {value} = %s WHERE {key} = %s AND {value} = %s"  # nosec B608
    with connection.cursor() as reader, connection.cursor() as writer:
        reader.execute(select)
        count = 0
        for identifier, stored in reader:
            writer.execute(update, [fernet().rotate(stored.encode()).decode(), identifier, stored])
            count += writer.rowcount
    return count
