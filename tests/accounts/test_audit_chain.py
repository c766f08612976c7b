"""The audit trail against somebody who may do everything in the database."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from io import StringIO
from typing import Any

import orjson
import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts import audit_export
from accounts.audit import record
from accounts.models import AuditHead, AuditLog, RateLimitTier
from accounts.tasks import export_audit_trail
from accounts.verification import ChainHead, Fault, verify_chain
from core import object_store

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_exports_of_other_tests() -> Iterator[None]:
    yield
    object_store.delete([info.key for info in object_store.list(audit_export.FOLDER)])


def append(count: int = 5) -> list[int]:
    tier = RateLimitTier.objects.get(name="standard")
    return [record("tier.changed", tier, changes={"rate": [n, n + 1]}).pk for n in range(count)]


def as_intruder(*statements: str) -> None:
    """Run raw SQL with the table's triggers out of the way, as its owner can."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_logs DISABLE TRIGGER USER")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("ALTER TABLE audit_logs ENABLE TRIGGER USER")


# Makes every hash from one entry on fit the changed table again: all that can be done without the application's key.
CHAIN_AGAIN = """
DO $$ DECLARE entry audit_logs; last bytea := '\\x'; BEGIN
  FOR entry IN SELECT * FROM audit_logs ORDER BY id LOOP
    entry.previous_hash := last;
    entry.hash := audit_log_hash(entry);
    UPDATE audit_logs SET previous_hash = entry.previous_hash, hash = entry.hash WHERE id = entry.id;
    last := entry.hash;
  END LOOP;
END $$
"""


def test_each_entry_holds_the_hash_of_the_entry_before() -> None:
    first, second = (AuditLog.objects.get(pk=pk) for pk in append(2))
    assert len(bytes(first.hash)) == 32
    assert bytes(second.previous_hash) == bytes(first.hash)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_logs SET action = 'x'", "DELETE FROM audit_logs", "TRUNCATE audit_logs"]
)
def test_raw_sql_cannot_change_or_remove_an_entry(statement: str) -> None:
    append(1)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_orm_cannot_change_or_remove_an_entry() -> None:
    append(1)
    with pytest.raises(TypeError, match="append-only"):
        AuditLog.objects.update(action="x")
    with pytest.raises(TypeError, match="append-only"):
        AuditLog.objects.all().delete()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        AuditLog.objects.get().delete()


def test_an_untouched_chain_is_whole() -> None:
    ids = append()
    assert verify_chain() == ChainHead(5, ids[-1], bytes(AuditLog.objects.get(pk=ids[-1]).hash).hex())


@pytest.mark.parametrize(
    "value",
    [1.5, -0.0, 1e22, 1e-9, 10**18, 1e15, True, None, 'é \U0001f916 " \\', ["a", {"b": 0.1}], {"z": 1, "a": 2}],
)
def test_whatever_an_entry_holds_its_signature_can_be_computed_again(value: object) -> None:
    record("tier.changed", RateLimitTier.objects.get(name="standard"), changes={"x": [None, value]})
    assert isinstance(verify_chain(), ChainHead)


@pytest.mark.parametrize("chained_again", [False, True], ids=["hashes left", "hashes made to fit"])
@pytest.mark.parametrize(
    "column",
    [
        "action = 'user.logged_in'",
        "actor_name = 'somebody else'",
        "changes = '{}'",
        "timestamp = now()",
        "ip_address = '10.0.0.9'",
        "resource_id = gen_random_uuid()",
        "request_id = 'another'",
    ],
)
def test_a_changed_entry_is_named(column: str, chained_again: bool) -> None:
    ids = append()
    as_intruder(f"UPDATE audit_logs SET {column} WHERE id = {ids[2]}", *([CHAIN_AGAIN] if chained_again else []))
    fault = verify_chain()
    assert isinstance(fault, Fault)
    assert fault.entry_id == ids[2]
    assert "changed" in fault.reason


@pytest.mark.parametrize("chained_again", [False, True], ids=["hashes left", "hashes made to fit"])
def test_a_removed_entry_is_noticed_at_the_entry_after_it(chained_again: bool) -> None:
    ids = append()
    as_intruder(f"DELETE FROM audit_logs WHERE id = {ids[2]}", *([CHAIN_AGAIN] if chained_again else []))
    fault = verify_chain()
    assert isinstance(fault, Fault)
    assert fault.entry_id == ids[3]
    assert chained_again or f"({ids[1] + 1} – {ids[3] - 1})" in fault.reason


def test_an_inserted_entry_is_named_although_the_trigger_chained_it() -> None:
    append()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_logs (action, actor_name, resource_type, resource_name, changes, request_id, timestamp,"
            " signature, previous_hash, hash) SELECT action, actor_name, resource_type, resource_name, changes,"
            " request_id, timestamp, signature, '', '' FROM audit_logs ORDER BY id DESC LIMIT 1 RETURNING id"
        )
        (inserted,) = cursor.fetchone()
    append(1)
    fault = verify_chain()
    assert isinstance(fault, Fault)
    assert fault.entry_id == inserted
    assert "inserted" in fault.reason


def test_two_entries_cannot_follow_the_same_one() -> None:
    ids = append(2)
    with pytest.raises(IntegrityError), transaction.atomic():
        as_intruder(f"UPDATE audit_logs SET previous_hash = '' WHERE id = {ids[1]}")


def test_signatures_hold_after_the_secret_key_was_rotated(settings: Any) -> None:
    append()
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a new one " * 8
    append()
    assert isinstance(verify_chain(), ChainHead)
    settings.SECRET_KEY_FALLBACKS = []
    assert isinstance(verify_chain(), Fault)


@pytest.mark.parametrize("kept", [4, 2, 0], ids=["the last one", "the last three", "all of them"])
def test_entries_cut_off_from_the_end_are_noticed(kept: int) -> None:
    ids = append()
    as_intruder(f"DELETE FROM audit_logs WHERE id > {ids[kept - 1] if kept else 0}")
    fault = verify_chain()
    assert isinstance(fault, Fault)
    assert fault.entry_id == ids[4]
    assert "was removed" in fault.reason


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM audit_head", "UPDATE audit_head SET entry_signature = proof", "UPDATE audit_head SET entry_id = 1"],
)
def test_the_note_of_the_last_entry_cannot_be_changed_unseen(statement: str) -> None:
    append()
    as_intruder(statement)
    fault = verify_chain()
    assert isinstance(fault, Fault)
    assert "the note of which entry was the last" in fault.reason


def test_a_trail_from_before_the_note_is_whole_once_the_migration_has_noted_its_end() -> None:
    append()
    as_intruder("DELETE FROM audit_head")
    migration = import_module("accounts.migrations.0006_audit_head_proof")
    migration.note_the_present_head(apps, None)
    assert isinstance(verify_chain(), ChainHead)


def test_a_tail_cut_off_by_somebody_who_kept_an_older_note_is_found_with_the_daily_exports() -> None:
    ids = append(3)
    older = AuditHead.objects.get()
    ids += append(2)
    audit_export.export_day(timezone.now().astimezone(UTC).date())
    as_intruder(f"DELETE FROM audit_logs WHERE id > {ids[2]}")
    older.save()
    assert isinstance(verify_chain(), ChainHead)
    with pytest.raises(CommandError, match=f"entry {ids[4]}, the head of a daily export, was removed"):
        call_command("verify_audit")


def test_the_export_writes_each_finished_day_once_with_the_head_of_the_chain() -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ids = append(3)
    as_intruder(f"UPDATE audit_logs SET timestamp = '{yesterday.isoformat()}'")
    export_audit_trail()
    key = f"audit/{yesterday.date().isoformat()}.jsonl.gz"
    first = object_store.get(key)
    *entries, last = (orjson.loads(line) for line in gzip.decompress(first).splitlines())
    assert [entry["id"] for entry in entries] == ids
    assert entries[0]["changes"] == {"rate": [0, 1]}
    assert last == {"head": {"id": ids[-1], "hash": entries[-1]["hash"]}}
    assert list(audit_export.days_without_export(datetime.now(UTC).date())) == []
    assert audit_export.export_day(yesterday.date()).sha256 == object_store.put(key, first).sha256


def test_the_command_names_the_head_of_a_whole_chain() -> None:
    ids = append()
    out = StringIO()
    call_command("verify_audit", stdout=out)
    assert f"5 entries, head {ids[-1]}" in out.getvalue()
