"""What is deleted is deleted everywhere, and nothing else is."""

from __future__ import annotations

import gzip
from datetime import timedelta

import orjson
import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.models import AuditLog
from core import object_store
from core.problems import Problem
from inference.models import InferenceRequest, InferenceResult
from pipeline import services
from pipeline.embeddings import indexing
from pipeline.exports import writer
from pipeline.models import Embedding, RetentionRule, StoredObject
from pipeline.runs import runner
from pipeline.storage import deletion, retention
from tests.factories import CollectionFactory, FeedbackFactory, FeedbackTaskFactory
from tests.pipeline.factories import jpeg, make_episode

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encoder")]
LONG_AGO = timezone.now() - timedelta(days=40)


@pytest.fixture
def collection():
    return CollectionFactory()


def old_record(collection):
    """A record with everything that can hang on one."""
    _, (result,) = make_episode(collection, steps=1, start=LONG_AGO)
    folder = f"raw/{LONG_AGO.date()}/collection_{collection.slug}/{result.request_id}/"
    object_store.put(folder + "base.jpg", jpeg(8, 8))
    object_store.put(folder + "record.json", b"{}")
    result.images = {"base": folder + "base.jpg"}
    result.save()
    FeedbackTaskFactory(inference_result=result)
    feedback = FeedbackFactory(inference_result=result, comment="much too fast")
    indexing.index_results([result.pk])
    indexing.index_feedback([feedback.pk])
    return result


def rule(collection, **values):
    return RetentionRule.objects.create(**{"collection": collection, "kind": "raw", "days": 30} | values)


def rows_that_name(result) -> list[str]:
    """The tables in which any column still holds the record's id or request id, found by looking everywhere."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(
                f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s OR t::text LIKE %s',
                [f"%{result.pk}%", f"%{result.request_id}%"],
            )
            if cursor.fetchone()[0]:
                found.append(table)
    return found


def test_after_deletion_no_table_and_no_object_holds_the_record(collection):
    result = old_record(collection)
    assert {"embeddings", "feedback", "feedback_tasks", "inference_requests"} <= set(rows_that_name(result))

    deleted = retention.apply(rule(collection))

    assert rows_that_name(result) == []
    assert list(object_store.list("raw")) == []
    assert (deleted.records, deleted.objects) == (1, 2)


def test_what_is_young_or_anothers_stays(collection):
    old_record(collection)
    _, young = make_episode(collection, steps=2, start=timezone.now())
    foreign = old_record(CollectionFactory())

    retention.apply(rule(collection))

    assert set(InferenceResult.objects.values_list("pk", flat=True)) == {*(r.pk for r in young), foreign.pk}
    assert InferenceRequest.objects.count() == 3


def test_a_later_run_does_not_bring_it_back(collection):
    old_record(collection)
    retention.apply(rule(collection))

    run = runner.execute(services.start_run(collection=collection, enqueue=False))

    assert run.records_out == 0
    assert not Embedding.objects.exists()


def test_a_dry_run_counts_and_deletes_nothing(collection, capsys):
    result = old_record(collection)
    rule(collection)

    call_command("apply_retention", "--dry-run")

    assert "would remove 1 records" in capsys.readouterr().out
    assert InferenceResult.objects.filter(pk=result.pk).exists()


@pytest.mark.parametrize("values", [{"legal_hold": True}, {"enabled": False}])
def test_a_held_or_disabled_rule_removes_nothing(collection, values):
    result = old_record(collection)

    retention.apply(rule(collection, **values))

    assert InferenceResult.objects.filter(pk=result.pk).exists()


def test_an_object_under_legal_hold_outlives_its_rule(collection):
    make_episode(collection)
    run = runner.execute(services.start_run(collection=collection, enqueue=False))
    StoredObject.objects.update(created_at=LONG_AGO)
    kept = StoredObject.objects.get(key__endswith="manifest.json")
    services.set_legal_hold(stored_object=kept, held=True)

    retention.apply(rule(collection, kind="processed"))

    assert [o.key for o in StoredObject.objects.all()] == [kept.key]
    assert [info.key for info in object_store.list("processed")] == [kept.key]
    assert run.collection == collection


def test_an_archived_record_leaves_the_tables_and_can_be_read_from_storage(collection):
    result = old_record(collection)

    retention.apply(rule(collection, action="archive"))

    assert not InferenceResult.objects.exists()
    (archive,) = object_store.list("archive")
    (line,) = gzip.decompress(object_store.get(archive.key)).splitlines()
    row = orjson.loads(line)
    assert row["request_id"] == str(result.request_id)
    assert row["feedback"][0]["comment"] == "much too fast"
    assert object_store.exists(result.images["base"])


def test_only_raw_records_can_be_archived(collection):
    with pytest.raises(ValidationError, match="Only raw records"):
        services.save_retention_rule(
            rule=RetentionRule(collection=collection, kind="export", days=3, action="archive"), changed={"days": 3}
        )


def test_what_was_removed_is_audited_by_its_count(collection):
    result = old_record(collection)

    retention.apply(rule(collection))

    entry = AuditLog.objects.get(action="retention.applied")
    assert entry.changes["records"] == [1, 0]
    assert str(result.pk) not in str(entry.changes)


def test_erasing_takes_runs_and_exports_that_hold_the_record(collection):
    result = old_record(collection)
    runner.execute(services.start_run(collection=collection, enqueue=False))
    writer.write(services.start_export(collection=collection, export_format="parquet", enqueue=False))

    deletion.erase(collection, [result.pk])

    assert rows_that_name(result) == []
    assert [info.key for prefix in ("raw", "processed", "exports") for info in object_store.list(prefix)] == []


def test_erasing_is_refused_where_a_file_is_held(collection):
    result = old_record(collection)
    runner.execute(services.start_run(collection=collection, enqueue=False))
    services.set_legal_hold(stored_object=StoredObject.objects.first(), held=True)

    with pytest.raises(Problem) as caught:
        deletion.erase(collection, [result.pk])

    assert caught.value.status == 409
    assert InferenceResult.objects.filter(pk=result.pk).exists()
