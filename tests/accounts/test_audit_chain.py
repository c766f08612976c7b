from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.audit import record
from accounts.models import RateLimitTier

pytestmark = pytest.mark.django_db


def test_each_entry_holds_the_hash_of_the_entry_before() -> None:
    tier = RateLimitTier.objects.get(name="standard")
    first = record("tier.changed", tier, changes={"rate": [50, 60]})
    second = record("tier.changed", tier, changes={"rate": [60, 70]})
    first.refresh_from_db()
    second.refresh_from_db()
    assert len(bytes(first.hash)) == 32
    assert bytes(second.previous_hash) == bytes(first.hash)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_logs SET action = 'x'", "DELETE FROM audit_logs", "TRUNCATE audit_logs"]
)
def test_raw_sql_cannot_change_or_remove_an_entry(statement: str) -> None:
    record("tier.changed", RateLimitTier.objects.get(name="standard"))
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
