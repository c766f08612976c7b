"""A backup is worth what its restoration brings back."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from collections_app.models import Collection
from core import object_store
from inference.models import InferenceResult
from pipeline.backups import services
from pipeline.models import StoredObject
from pipeline.storage.catalogue import CorruptObjectError
from tests.factories import CollectionFactory
from tests.pipeline.factories import make_episode


@pytest.mark.django_db(transaction=True)
def test_what_was_lost_after_a_backup_comes_back(capsys):
    collection = CollectionFactory(slug="precious")
    _, results = make_episode(collection, steps=3)
    call_command("backup")
    key = StoredObject.objects.get(key__endswith=".dump").key
    InferenceResult.objects.all().delete()
    Collection.objects.filter(pk=collection.pk).update(name="spoilt")

    call_command("restore", "--yes")

    assert set(InferenceResult.objects.values_list("pk", flat=True)) == {r.pk for r in results}
    assert Collection.objects.get(slug="precious").name == collection.name
    assert f"Restored {key}" in capsys.readouterr().out
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'inference_results'::regclass")
        assert cursor.fetchone()[0] > 1, "the partitions are there"


@pytest.mark.django_db(transaction=True)
def test_what_was_erased_does_not_come_back_with_an_older_backup(capsys):
    collection = CollectionFactory(slug="precious")
    _, results = make_episode(collection, steps=2)
    call_command("backup")
    call_command("erase", "precious", "--request", str(results[0].request_id), "--yes")

    call_command("restore", "--yes")

    assert list(InferenceResult.objects.values_list("pk", flat=True)) == [results[1].pk]
    assert "1 records that were erased since then were erased again" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
def test_old_backups_go_and_the_newest_stays(settings):
    old = ["backups/db_backup_2026-01-02.dump", "backups/configuration_2026-01-02.json"]
    kept = ["backups/db_backup_2999-01-02.dump", "backups/notes.txt"]
    for key in old + kept:
        object_store.put(key, b"x")

    assert services.delete_old(older_than=datetime(2026, 6, 1, tzinfo=UTC)) == 2
    object_store.delete(kept[:1])
    object_store.put(old[0], b"x")
    assert services.delete_old(older_than=datetime(2026, 6, 1, tzinfo=UTC)) == 0, "it is the newest now"

    assert [info.key for info in object_store.list("backups/")] == [old[0], "backups/notes.txt"]


@pytest.mark.django_db(transaction=True)
def test_a_damaged_backup_changes_nothing():
    collection = CollectionFactory()
    entry = services.back_up()
    object_store.put(entry.key, gzip.compress(b"nonsense"))

    with pytest.raises(CorruptObjectError):
        services.restore(entry.key)

    assert Collection.objects.filter(pk=collection.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_a_backup_holds_no_secret(settings):
    services.back_up()

    (description,) = [info.key for info in object_store.list("backups/") if info.key.endswith(".json")]
    text = object_store.get(description).decode()
    assert settings.SECRET_KEY not in text
    assert "FIELD_ENCRYPTION_KEYS" in text


@pytest.mark.django_db
def test_restoring_nothing_says_so():
    with pytest.raises(CommandError, match="no backup"):
        call_command("restore", "--yes")
