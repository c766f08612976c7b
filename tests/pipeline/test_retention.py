"""What is deleted is deleted everywhere, and nothing else is."""

from __future__ import annotations

import gzip
from datetime import timedelta

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditLog
from collections_app.models import Episode
from core import object_store
from core.problems import Problem
from core.redis import engine_redis
from feedback.webhooks.models import WebhookDelivery, WebhookEndpoint
from inference.engine import keys
from inference.models import InferenceRequest, InferenceResult
from inference.recorder import ForgottenMeanwhileError, Recorder
from inference.results import stored_answer
from pipeline import services, tasks
from pipeline.embeddings import file as embeddings_file
from pipeline.embeddings import indexing
from pipeline.exports import writer
from pipeline.models import Embedding, RetentionRule, StoredObject
from pipeline.runs import runner
from pipeline.storage import deletion, layout, retention
from tests.factories import CollectionFactory, FeedbackFactory, FeedbackTaskFactory, PolicyVersionFactory, UserFactory
from tests.inference.test_recorder import answered
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
    assert InferenceRequest.objects.exclude(digest=b"").count() == 3


def test_a_record_without_an_image_leaves_no_file_and_no_folder(collection, objects):
    _, (result,) = make_episode(collection, steps=1, start=LONG_AGO)
    object_store.put(f"raw/{LONG_AGO.date()}/collection_{collection.slug}/{result.request_id}/record.json", b"{}")

    retention.apply(rule(collection))

    assert not (objects / "raw").exists()


def test_what_repeats_or_tells_of_the_record_goes_with_it(collection):
    result = old_record(collection)
    endpoint = WebhookEndpoint.objects.create(
        collection=collection, url="https://example.org", events=["feedback.submitted"]
    )
    WebhookDelivery.objects.create(
        endpoint=endpoint, event="ping", payload={"data": {"request_id": str(result.request_id)}}
    )
    embeddings_file.write(collection)
    client = engine_redis()
    client.hset(keys.answer(result.request_id), mapping={"d": b"d", "a": b"{the answer}"})
    client.set(keys.frame(collection.pk, result.request_id, "base"), b"jpeg")

    retention.apply(rule(collection))

    assert not WebhookDelivery.objects.exists()
    assert not Episode.objects.filter(pk=result.episode_id).exists()
    vectors = object_store.get(layout.embeddings_key(collection.slug))
    assert pq.read_table(pa.BufferReader(vectors)).num_rows == 0
    assert [key for key in client.scan_iter() if result.request_id.hex.encode() in key] == [
        keys.answer(result.request_id).encode()
    ]
    assert client.hkeys(keys.answer(result.request_id)) == [b"d", b"r"], "a repeat is told to look in the ledger"


def test_a_repeated_request_is_told_that_its_record_is_gone(collection):
    result = old_record(collection)
    retention.apply(rule(collection))

    with pytest.raises(Problem) as caught:
        stored_answer(result.request_id, b"0" * 32)

    assert caught.value.status == 409


@pytest.mark.parametrize("action", ["delete", "archive"])
def test_a_recorder_that_reads_its_stream_again_does_not_bring_it_back(action, collection, objects):
    version = PolicyVersionFactory()
    submission = answered(collection, version, accepted_at=LONG_AGO.timestamp(), state=[0.5] * 7)
    (entry,) = engine_redis().xrange(keys.records())
    recorder = Recorder()
    assert recorder.drain() == 1
    (result,) = InferenceResult.objects.all()
    retention.apply(rule(collection, action=action))
    kept = {path for path in objects.rglob("*") if path.is_file()}

    engine_redis().xadd(keys.records(), entry[1])
    assert recorder.drain() == 1

    assert submission.request_id == result.request_id
    assert set(rows_that_name(result)) == (set() if action == "delete" else {"stored_objects"}), "an archive's name"
    assert {path for path in objects.rglob("*") if path.is_file()} == kept
    assert bool(kept) == (action == "archive")


def test_a_deletion_between_a_recorders_two_looks_is_noticed(collection, objects, monkeypatch):
    answered(collection, PolicyVersionFactory(), accepted_at=LONG_AGO.timestamp())
    (entry,) = engine_redis().xrange(keys.records())
    recorder = Recorder()
    recorder.drain()
    (result,) = InferenceResult.objects.all()
    retention.apply(rule(collection))
    engine_redis().xadd(keys.records(), entry[1])
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "_without_forgotten", lambda _recorder, records: records)
        with pytest.raises(ForgottenMeanwhileError):
            recorder.drain()
    assert list(object_store.list("raw")), "written before the second look"

    recorder._record(recorder._read(block=None, start="0"))

    assert rows_that_name(result) == []
    assert not list(object_store.list("raw"))
    assert engine_redis().xlen(keys.records()) == 0


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

    assert "would remove 1 records, 2 objects" in capsys.readouterr().out
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


def test_the_images_of_an_archived_record_go_with_the_archive(collection, objects):
    result = old_record(collection)
    retention.apply(rule(collection, action="archive"))
    StoredObject.objects.update(created_at=LONG_AGO)

    retention.apply(rule(collection, kind="archive"))

    assert rows_that_name(result) == []
    assert [path for path in objects.rglob("*") if path.is_file()] == []


def test_an_archived_record_can_be_erased(collection, objects):
    result, other = old_record(collection), old_record(collection)
    retention.apply(rule(collection, action="archive"))

    deleted = deletion.erase(collection, [result.pk])

    assert deleted.records == 1
    (archive,) = object_store.list("archive")
    lines = gzip.decompress(object_store.get(archive.key)).splitlines()
    assert [orjson.loads(line)["id"] for line in lines] == [str(other.pk)]
    assert rows_that_name(result) == []
    assert not object_store.exists(result.images["base"])
    assert object_store.exists(other.images["base"])


def test_only_raw_records_can_be_archived(collection):
    with pytest.raises(ValidationError, match="Only raw records"):
        services.save_retention_rule(
            rule=RetentionRule(collection=collection, kind="export", days=3, action="archive"), changed={"days": 3}
        )


def test_an_admin_sees_a_dry_run_and_applies_a_rule(collection, client, monkeypatch):
    old_record(collection)
    idle, active = rule(collection, kind="export", enabled=False), rule(collection)
    applied = []
    monkeypatch.setattr(tasks.apply_retention_rule, "delay_on_commit", applied.append)
    client.force_login(UserFactory(is_staff=True, is_superuser=True))

    def act(action):
        page = reverse("admin:pipeline_retentionrule_changelist")
        chosen = {"action": action, "_selected_action": [idle.pk, active.pk]}
        return client.post(page, chosen, follow=True).content.decode()

    seen = act("preview_now")
    assert "1 records, 2 objects, 0.0 MB, the oldest of" in seen
    assert InferenceResult.objects.exists()
    assert "switched off or under legal hold" in act("apply_now")
    assert applied == [active.pk]


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


def test_erasing_is_refused_under_a_held_rule_and_while_an_export_is_written(collection):
    result = old_record(collection)
    held = rule(collection, legal_hold=True)
    with pytest.raises(Problem, match="legal hold"):
        deletion.erase(collection, [result.pk])
    held.delete()
    services.start_export(collection=collection, export_format="csv", enqueue=False)
    with pytest.raises(Problem, match="at work"):
        deletion.erase(collection, [result.pk])

    assert InferenceResult.objects.filter(pk=result.pk).exists()


def test_an_answer_in_the_cache_is_erased(collection):
    result = old_record(collection)
    cached = keys.result_cache(result.policy_version_id, "digest")
    engine_redis().set(cached, b"{}")

    deletion.erase(collection, [result.pk])

    assert not engine_redis().exists(cached)


def test_classes_that_belong_to_no_collection_have_no_rule(collection):
    with pytest.raises(ValidationError, match="no collection"):
        services.save_retention_rule(rule=RetentionRule(collection=collection, kind="backup", days=3), changed={})
