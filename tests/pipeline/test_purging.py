"""Raw data behind a published run is purged once its redacted twins are verified, and nothing changes for readers."""

from __future__ import annotations

import io
from datetime import timedelta
from uuid import uuid4

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from accounts.choices import Role
from accounts.models import AuditLog
from core import object_store
from core.problems import Problem
from core.redis import engine_redis
from feedback.models import Draft, Review, TaskSkip
from inference.engine import keys
from inference.models import InferenceResult
from inference.recorder import Recorder
from inference.selectors import image_urls
from pipeline import services, tasks
from pipeline.choices import JobState, ObjectKind
from pipeline.embeddings import indexing, renewal
from pipeline.embeddings import map as maps
from pipeline.exports import writer
from pipeline.images import published
from pipeline.images.regions import Box
from pipeline.models import Embedding, ImageEmbedding, PurgedRecord, RetentionRule, StoredObject
from pipeline.runs import runner
from pipeline.storage import deletion, purging, retention
from tests.factories import (
    CollectionFactory,
    FeedbackFactory,
    FeedbackTaskFactory,
    MembershipFactory,
    PolicyVersionFactory,
    RobotFactory,
    UserFactory,
)
from tests.inference.test_recorder import answered
from tests.pipeline.factories import jpeg, make_episode

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encoder", "finders")]
SECRET = "anna.smith@example.org"
LONG_AGO = timezone.now() - timedelta(days=40)
FORMATS = ("parquet", "csv", "lerobot", "preferences")


class Finds:
    name = "rapidocr"

    def __init__(self, *boxes):
        self.boxes = list(boxes)

    def find(self, image):
        return self.boxes


@pytest.fixture
def finders(monkeypatch):
    monkeypatch.setattr(published, "text_finder", lambda: Finds(Box(4, 4, 20, 12)))
    monkeypatch.setattr(published, "face_finder", Finds)


@pytest.fixture
def collection():
    return CollectionFactory(cameras=["base"])


def picture(*, shade: int = 0) -> bytes:
    return jpeg(64, 48, shade=shade)


def store_raw(result, data: bytes) -> None:
    """Where the recorder puts it."""
    folder = f"raw/{result.created_at.date()}/collection_{result.collection.slug}/{result.request_id}/"
    object_store.put(folder + "base.jpg", data)
    object_store.put(folder + "record.json", orjson.dumps({"instruction": result.instruction}))
    InferenceResult.objects.filter(pk=result.pk).update(images={"base": folder + "base.jpg"})


def recorded(collection, *, steps=3, secret=SECRET, shades=None, **values):
    """An episode with personal data in every text of it."""
    episode, results = make_episode(collection, steps=steps, instruction=f"bring it to {secret}", **values)
    episode.external_id, episode.tags = f"run of {secret}", [f"by {secret}"]
    episode.save()
    for step, result in enumerate(results):
        store_raw(result, picture(shade=shades[step] if shades else 30 * step))
        violations = [{"rule": "position", f"seen by {secret}": secret}]
        InferenceResult.objects.filter(pk=result.pk).update(safety_violations=violations)
    task = FeedbackTaskFactory(inference_result=results[0])
    # As if the model that finds names had been installed after people wrote this.
    feedback = FeedbackFactory(
        inference_result=results[0],
        feedback_type="correction",
        human_correction=[[0.1] * 7] * 8,
        rating=None,
        comment=f"ask {secret}",
    )
    Review.objects.create(feedback=feedback, verdict="accepted", comment=f"{secret} agrees")
    TaskSkip.objects.create(task=task, annotator=UserFactory(), reason="other", note=f"{secret} knows")
    Draft.objects.create(task=task, annotator=UserFactory(), content={"comment": f"{secret}?", secret: 1})
    return episode, results


def published_run(collection):
    return runner.execute(services.start_run(collection=collection, enqueue=False))


def exported(collection, objects) -> dict[str, bytes]:
    """Every file of an export in every format, by format and path."""
    found = {}
    for name in FORMATS:
        export = writer.write(services.start_export(collection=collection, export_format=name, enqueue=False))
        folder = objects / f"exports/collection_{collection.slug}/export_{export.pk}"
        found |= {f"{name}/{p.relative_to(folder)}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return found


def batches(run, objects) -> dict[str, bytes]:
    """What a run published of its records."""
    folder = objects / f"processed/collection_{run.collection.slug}/run_{run.pk}"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def places_of(text: str, objects) -> set[str]:
    """The tables and objects that hold ``text``, found by looking everywhere; Parquet by its texts."""
    found = set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE %s', [f"%{text}%"])
            if cursor.fetchone()[0]:
                found.add(table)
    for path in objects.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".parquet":
                data += str(pq.read_table(io.BytesIO(data)).to_pylist()).encode()
            if text.encode() in data:
                found.add(str(path.relative_to(objects)))
    return found


def raw_objects():
    return [info.key for info in object_store.list("raw")]


def test_after_a_purge_no_table_and_no_object_holds_the_personal_data(collection, objects):
    recorded(collection)
    run = published_run(collection)
    held = {"inference_results", "episodes", "feedback", "reviews", "feedback_task_skips", "feedback_drafts"}
    assert held <= places_of(SECRET, objects)

    purged = purging.purge(run)

    assert places_of(SECRET, objects) == set()
    assert raw_objects() == []
    assert (purged.records, purged.objects, purged.left) == (3, 6, {})


def test_what_is_purged_can_still_be_seen_and_found(collection):
    _, results = recorded(collection)
    indexing.index_feedback([results[0].feedback.get().pk])

    purging.purge(published_run(collection))

    result = InferenceResult.objects.get(pk=results[0].pk)
    assert result.instruction == "bring it to <EMAIL_ADDRESS>"
    assert set(image_urls(result)) == {"base"}
    image = np.asarray(published.decode(object_store.get(result.images["base"])))
    assert np.abs(image[6:10, 6:18].astype(int) - 114).max() < 12
    texts = set(Embedding.objects.values_list("text", flat=True))
    assert texts == {"bring it to <EMAIL_ADDRESS>", "ask <EMAIL_ADDRESS>"}


def test_a_later_run_publishes_the_same_bytes(collection, objects):
    recorded(collection, shades=[0, 0, 250])  # the second picture is frozen
    make_episode(collection, steps=2)
    before = published_run(collection)
    quality = pq.read_table(io.BytesIO(batches(before, objects)["batch_001.parquet"])).column("quality").to_pylist()
    assert ["camera_frozen"] in quality

    purging.purge(before)
    after = runner.execute(
        services.start_run(
            collection=collection, window_start=before.window_start, window_end=before.window_end, enqueue=False
        )
    )

    assert batches(after, objects) == batches(before, objects)
    assert raw_objects() == []


def test_exports_before_and_after_are_the_same_bytes_with_their_manifests_and_cards(collection, objects):
    recorded(collection)
    run = published_run(collection)
    before = exported(collection, objects)

    purging.purge(run)

    after = exported(collection, objects)
    assert {name for name, data in after.items() if before[name] != data} == set()
    assert set(after) == set(before)
    assert any(name.endswith(".mp4") for name in after)
    assert b"EMAIL_ADDRESS" in after["parquet/manifest.json"]


def dies(*_args):
    raise KeyboardInterrupt


def dies_after_the_first(keys):
    for key in keys:
        _delete([key])
        raise KeyboardInterrupt


_delete = object_store.delete


@pytest.mark.parametrize(
    ("where", "name", "death", "still_there"),
    [
        (purging, "_redact_what_hangs_on", dies, 6),
        (purging, "_redact_finished_episodes", dies, 6),
        (renewal, "renew_pictures", dies, 6),
        (object_store, "delete", dies_after_the_first, 5),
        (maps, "draw", dies, 0),
    ],
)
def test_a_call_that_was_killed_half_way_is_finished_by_the_next(
    collection, objects, monkeypatch, where, name, death, still_there
):
    recorded(collection)
    run = published_run(collection)
    before = exported(collection, objects)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, death)
        with pytest.raises(KeyboardInterrupt):
            purging.purge(run)
    assert len(raw_objects()) == still_there
    assert exported(collection, objects) == before

    purging.purge(run)

    assert raw_objects() == []
    assert places_of(SECRET, objects) == set()
    assert exported(collection, objects) == before
    assert run.report["purged"]["records"] == 3
    assert AuditLog.objects.get(action="raw_data.purged").changes["records"] == [3, 0]


def test_a_second_call_changes_nothing(collection):
    recorded(collection)
    run = published_run(collection)
    purging.purge(run)

    purged = purging.purge(run)

    assert (purged.records, purged.objects) == (0, 0)
    assert run.report["purged"]["records"] == 3


def test_a_recorder_that_reads_its_stream_again_brings_no_raw_object_back(collection, objects):
    answered(collection, PolicyVersionFactory(), state=[0.5] * 7)
    (entry,) = engine_redis().xrange(keys.records())
    recorder = Recorder()
    recorder.drain()
    run = published_run(collection)
    assert purging.purge(run).records == 1
    kept = {path for path in objects.rglob("*") if path.is_file()}

    engine_redis().xadd(keys.records(), entry[1])
    assert recorder.drain() == 1

    assert {path for path in objects.rglob("*") if path.is_file()} == kept
    assert raw_objects() == []


def test_a_reader_with_a_row_from_before_gets_the_twin(collection):
    _, results = recorded(collection)
    results[0].refresh_from_db()
    purging.purge(published_run(collection))

    images = published.PublishedImages(collection, redact=True)

    assert images.fetch(results[0].images["base"]) is not None
    assert images.report()["text_regions"] == 1


# --- what stays, and why ---


def test_records_in_quarantine_stay_and_are_counted(collection):
    _, results = recorded(collection)
    InferenceResult.objects.filter(pk=results[1].pk).update(input_state=["broken"])

    purged = purging.purge(published_run(collection))

    assert (purged.records, purged.left) == (2, {"in_quarantine": 1})
    assert InferenceResult.objects.get(pk=results[1].pk).instruction == f"bring it to {SECRET}"
    assert SECRET in InferenceResult.objects.get(pk=results[1].pk).episode.external_id, "it is that record's, too"


def test_an_episode_follows_with_the_last_of_its_records(collection, objects):
    _, results = recorded(collection)
    InferenceResult.objects.filter(pk=results[1].pk).update(input_state=["broken"])
    purging.purge(published_run(collection))
    InferenceResult.objects.filter(pk=results[1].pk).update(input_state=[0.5] * 7)

    purging.purge(published_run(collection))

    assert places_of(SECRET, objects) == set()


def test_a_record_that_says_something_else_than_was_published_stays(collection):
    _, results = recorded(collection)
    run = published_run(collection)
    InferenceResult.objects.filter(pk=results[2].pk).update(instruction="something else")

    purged = purging.purge(run)

    assert (purged.records, purged.left) == (2, {"changed_since_published": 1})
    assert InferenceResult.objects.get(pk=results[2].pk).instruction == "something else"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda key: object_store.put(key, b"other bytes"), "file_damaged"),
        (lambda key: object_store.delete([key]), "file_missing"),
        (lambda key: StoredObject.objects.filter(key=key).delete(), "file_missing"),
    ],
)
def test_nothing_is_purged_where_the_published_file_is_not_what_was_written(collection, harm, reason):
    recorded(collection)
    run = published_run(collection)
    harm(StoredObject.objects.get(key__endswith="batch_001.parquet").key)

    purged = purging.purge(run)

    assert (purged.records, purged.left) == (0, {reason: 3})
    assert len(raw_objects()) == 6


def test_a_record_whose_twin_is_damaged_stays(collection):
    _, results = recorded(collection)
    run = published_run(collection)
    results[0].refresh_from_db()
    twin = published.verified_twin(collection, object_store.get(results[0].images["base"]))
    object_store.put(twin.key, b"other bytes")

    purged = purging.purge(run)

    assert (purged.records, purged.left) == (2, {"twin_damaged": 1})
    assert results[0].images["base"] in raw_objects()


def test_a_twin_that_goes_before_it_is_taken_up_is_not_relied_on(collection, monkeypatch):
    recorded(collection)
    run = published_run(collection)
    verified = published.verified_twin

    def goes(*args):
        twin = verified(*args)
        StoredObject.objects.filter(pk=twin.pk).delete()
        return twin

    monkeypatch.setattr(published, "verified_twin", goes)

    assert purging.purge(run).left == {"twin_damaged": 3}
    assert len(raw_objects()) == 6


def test_a_record_whose_picture_cannot_be_read_stays(collection):
    _, results = recorded(collection)
    run = published_run(collection)
    results[0].refresh_from_db()
    object_store.put(results[0].images["base"], b"no image")

    assert purging.purge(run).left == {"image_unreadable": 1}


# --- legal hold, and work ---


def test_legal_hold_on_a_class_of_the_collection_refuses_a_purge(collection):
    recorded(collection)
    run = published_run(collection)
    RetentionRule.objects.create(collection=collection, kind="raw", days=9, legal_hold=True)

    with pytest.raises(Problem, match="legal hold"):
        services.purge_raw(run=run)
    with pytest.raises(Problem, match="legal hold"):
        purging.purge(run)

    assert len(raw_objects()) == 6


def test_a_hold_that_comes_in_the_middle_stops_a_purge(collection, monkeypatch):
    recorded(collection)
    run = published_run(collection)
    monkeypatch.setattr(purging, "BATCH", 2)

    def hold(_so_far):
        RetentionRule.objects.create(collection=collection, kind="raw", days=9, legal_hold=True)

    purged = purging.purge(run, hold)

    assert (purged.records, purged.left) == (2, {"legal_hold": 1})
    assert len(raw_objects()) == 2


def test_a_record_with_a_held_object_stays(collection):
    _, results = recorded(collection)
    run = published_run(collection)
    results[0].refresh_from_db()
    StoredObject.objects.create(
        key=results[0].images["base"], collection=collection, kind="raw", bytes=1, sha256="0" * 64, legal_hold=True
    )

    purged = purging.purge(run)

    assert (purged.records, purged.left) == (2, {"legal_hold": 1})
    assert results[0].images["base"] in raw_objects()


def test_a_purge_is_refused_while_an_export_is_at_work_and_for_a_run_that_published_nothing(collection):
    recorded(collection)
    run = published_run(collection)
    export = services.start_export(collection=collection, export_format="csv", enqueue=False)
    with pytest.raises(Problem, match="at work"):
        purging.purge(run)
    writer.write(export)
    run.state = JobState.FAILED
    with pytest.raises(Problem, match="published nothing"):
        purging.purge(run)


# --- twins that several records show ---


def twin_of(result) -> str:
    return InferenceResult.objects.get(pk=result.pk).images["base"]


def test_a_shared_twin_is_deleted_with_the_last_record_that_shows_it(collection):
    _, (old,) = recorded(collection, steps=1, start=LONG_AGO)
    _, (young,) = recorded(collection, steps=1, start=timezone.now() - timedelta(minutes=1), secret="b@example.org")
    purging.purge(published_run(collection))
    twin = twin_of(old)
    assert twin == twin_of(young)
    rule = RetentionRule.objects.create(collection=collection, kind="raw", days=30)

    first = retention.apply(rule)
    assert (first.records, object_store.exists(twin)) == (1, True)
    InferenceResult.objects.update(created_at=LONG_AGO)
    second = retention.apply(rule)

    assert (second.records, second.objects) == (1, 1)
    assert not object_store.exists(twin)
    assert not StoredObject.objects.filter(key=twin).exists()
    assert not PurgedRecord.objects.exists()


def test_the_rule_for_processed_batches_leaves_pictures_that_records_show(collection):
    _, results = recorded(collection)
    purging.purge(published_run(collection))
    StoredObject.objects.update(created_at=timezone.now() - timedelta(days=40))

    retention.apply(RetentionRule.objects.create(collection=collection, kind="processed", days=30))

    assert object_store.exists(twin_of(results[0]))
    assert StoredObject.objects.get(key=twin_of(results[0])).kind == ObjectKind.RAW


def test_a_held_twin_outlives_its_record(collection):
    _, results = recorded(collection, steps=1, start=LONG_AGO)
    purging.purge(published_run(collection))
    twin = twin_of(results[0])
    services.set_legal_hold(stored_object=StoredObject.objects.get(key=twin), held=True)
    with pytest.raises(Problem, match="legal hold"):
        deletion.erase(collection, [results[0].pk])

    retention.apply(RetentionRule.objects.create(collection=collection, kind="raw", days=30))

    assert object_store.exists(twin)


def test_an_erased_record_leaves_the_twin_to_another_that_shows_it(collection):
    _, (one,) = recorded(collection, steps=1)
    _, (other,) = recorded(collection, steps=1, secret="b@example.org")
    purging.purge(published_run(collection))
    twin = twin_of(other)

    deletion.erase(collection, [one.pk])
    assert object_store.exists(twin)
    deletion.erase(collection, [other.pk])

    assert not object_store.exists(twin)
    assert not PurgedRecord.objects.exists()


def test_erasing_a_raw_record_leaves_the_twin_that_a_purged_one_shows(collection):
    _, (one,) = recorded(collection, steps=1)
    purging.purge(published_run(collection))
    _, (raw,) = recorded(collection, steps=1, secret="b@example.org")

    deletion.erase(collection, [raw.pk])

    assert object_store.exists(twin_of(one))


def test_a_purged_record_can_be_archived_and_goes_with_the_archive(collection, objects):
    recorded(collection, steps=1, start=LONG_AGO)
    purging.purge(published_run(collection))
    retention.apply(RetentionRule.objects.create(collection=collection, kind="raw", days=30, action="archive"))
    StoredObject.objects.update(created_at=timezone.now() - timedelta(days=40))
    assert PurgedRecord.objects.exists()

    retention.apply(RetentionRule.objects.create(collection=collection, kind="archive", days=30))

    assert list(object_store.list(f"processed/collection_{collection.slug}/redacted")) == []
    assert not PurgedRecord.objects.exists()


# --- names that must differ ---


def test_episodes_whose_names_become_the_same_are_told_apart_and_published_as_before(collection, objects):
    robot = RobotFactory(collection=collection)
    recorded(collection, robot=robot)
    recorded(collection, robot=robot, secret="b@example.org")
    long, _ = recorded(collection, robot=robot, secret="a@b.de")
    long.external_id, long.tags = f"{'x' * 57} a@b.de", []
    long.save()
    run = published_run(collection)
    before = exported(collection, objects)

    purging.purge(run)

    names = sorted(collection.episodes.values_list("external_id", flat=True))
    assert {"run of <EMAIL_ADDRESS>", "run of <EMAIL_ADDRESS> (2)"} <= set(names)
    assert exported(collection, objects) == before
    assert purging.purge(run).records == 0
    assert sorted(collection.episodes.values_list("external_id", flat=True)) == names


def test_an_export_by_a_name_that_is_purged_can_be_written_again(collection, objects):
    episode, _ = recorded(collection)
    query = {"episode": episode.external_id, "tag": episode.tags[0]}
    export = services.start_export(collection=collection, export_format="csv", query=query, enqueue=False)
    assert writer.write(export).records == 3

    purging.purge(published_run(collection))

    export.refresh_from_db()
    assert places_of(SECRET, objects) == {"audit_logs"}, "who asked for what stays in the chain"
    again = services.start_export(collection=collection, export_format="csv", query=export.query, enqueue=False)
    assert writer.write(again).manifest["files"] == export.manifest["files"]


def test_the_row_of_a_version_that_answered_in_the_shadow_is_purged_too(collection, objects):
    _, results = recorded(collection, steps=1)
    results[0].refresh_from_db()
    shadow = InferenceResult.objects.get(pk=results[0].pk)
    shadow.pk, shadow.shadow, shadow.policy_version = uuid4(), True, PolicyVersionFactory()
    shadow.save(force_insert=True)

    purging.purge(published_run(collection))

    assert places_of(SECRET, objects) == set()
    assert InferenceResult.objects.get(pk=shadow.pk).images == {"base": twin_of(results[0])}


def test_what_redis_remembers_of_a_purged_record_goes(collection):
    _, (result,) = recorded(collection, steps=1)
    engine_redis().set(keys.frame(collection.pk, result.request_id, "base"), b"jpeg")

    purging.purge(published_run(collection))

    assert not engine_redis().exists(keys.frame(collection.pk, result.request_id, "base"))


def test_vectors_of_raw_pictures_are_made_anew_from_the_twins(collection, monkeypatch):
    from pipeline.embeddings.encoders import TextModel

    _, (result,) = recorded(collection, steps=1)
    model = TextModel("colours", "1", "")
    seen = []

    class Encoder:
        def encode_images(self, images):
            seen.extend(np.asarray(image) for image in images)
            return np.eye(3, dtype=np.float32)[: len(images)]

    monkeypatch.setattr(renewal, "image_model", lambda: model)
    monkeypatch.setattr(renewal, "image_encoder", lambda model: Encoder())
    row = {"collection": collection, "inference_result": result, "camera": "base", "moment": 1, "dimensions": 3}
    row |= {"occurred_at": result.created_at, "embedding": [0.0, 0.0, 1.0], "metadata": {"anomalous": True}}
    ImageEmbedding.objects.create(**row, place=result.pk, model_name="colours", model_revision="1")
    ImageEmbedding.objects.create(**row, place=result.pk, model_name="gone", model_revision="1")

    purging.purge(published_run(collection))

    (renewed,) = ImageEmbedding.objects.all()
    assert list(renewed.embedding) == [1.0, 0.0, 0.0]
    assert renewed.metadata == {"anomalous": True}
    assert np.abs(seen[0][6:10, 6:18].astype(int) - 114).max() < 12, "the encoder saw the twin"


def test_what_an_older_backup_brings_back_is_purged_again(collection, objects):
    recorded(collection, shades=[0, 0, 250])
    before = exported(collection, objects)
    rows = {row.pk: row for row in InferenceResult.objects.all()}
    raw = {info.key: object_store.get(info.key) for info in object_store.list("raw")}
    run = published_run(collection)
    batch = batches(run, objects)["batch_001.parquet"]
    purging.purge(run)
    # As the tables were before.
    PurgedRecord.objects.all().delete()
    StoredObject.objects.filter(kind=ObjectKind.RAW).delete()
    for row in rows.values():
        row.save()
    object_store.put(*next(iter(raw.items())))

    assert purging.purge_again() == 3

    assert places_of(SECRET, objects) == set()
    assert raw_objects() == []
    assert exported(collection, objects) == before
    again = runner.execute(
        services.start_run(
            collection=collection, window_start=run.window_start, window_end=run.window_end, enqueue=False
        )
    )
    assert batches(again, objects)["batch_001.parquet"] == batch
    assert purging.purge_again() == 0


# --- who, how, and what is told ---


def test_a_purge_is_audited_by_counts(collection):
    recorded(collection)

    purging.purge(published_run(collection))

    entry = AuditLog.objects.get(action="raw_data.purged")
    assert entry.changes["records"] == [3, 0]
    assert entry.changes["left"] == [None, {}]
    assert SECRET not in str(entry.changes)


def test_a_manager_sees_what_would_go_and_then_purges(collection, client, monkeypatch):
    recorded(collection)
    run = published_run(collection)
    asked = []
    monkeypatch.setattr(tasks.purge_raw, "delay_on_commit", asked.append)
    client.force_login(MembershipFactory(collection=collection, role=Role.MANAGER, user__is_staff=True).user)
    page = reverse("admin:pipeline_pipelinerun_changelist")
    chosen = {"action": "purge_raw", "_selected_action": [run.pk]}

    seen = client.post(page, chosen).content.decode()
    assert "Purge the raw data behind these runs?" in seen
    assert f'name="_selected_action" value="{run.pk}"' in seen
    assert asked == []
    client.post(page, chosen | {"confirmed": "yes"})

    assert asked == [str(run.pk)]
    assert AuditLog.objects.filter(action="raw_data.purge_requested").count() == 1


def test_the_preview_says_why_a_run_cannot_be_purged(collection, client):
    recorded(collection)
    run = published_run(collection)
    RetentionRule.objects.create(collection=collection, kind="raw", days=9, legal_hold=True)
    client.force_login(UserFactory(is_staff=True, is_superuser=True))

    page = reverse("admin:pipeline_pipelinerun_changelist")
    seen = client.post(page, {"action": "purge_raw", "_selected_action": [run.pk]}).content.decode()

    assert "legal hold" in seen
    assert f'name="_selected_action" value="{run.pk}"' not in seen


def test_the_command_tells_what_it_would_purge_and_purges(collection, capsys):
    recorded(collection)
    run = published_run(collection)

    call_command("purge_raw", collection.slug, "--dry-run")
    assert f"{run.pk}: would purge 3 records, 3 pictures" in capsys.readouterr().out
    assert len(raw_objects()) == 6
    call_command("purge_raw", collection.slug, "--run", str(run.pk), "--yes")

    assert f"{run.pk}: purged 3 records, 6 objects" in capsys.readouterr().out
    assert raw_objects() == []
    with pytest.raises(CommandError, match="no published run"):
        call_command("purge_raw", "nowhere")


def test_the_task_purges_and_is_quiet_where_it_may_not(collection):
    recorded(collection)
    run = published_run(collection)
    RetentionRule.objects.create(collection=collection, kind="raw", days=9, legal_hold=True)
    tasks.purge_raw(str(run.pk))
    assert len(raw_objects()) == 6
    RetentionRule.objects.all().delete()

    tasks.purge_raw(str(run.pk))

    assert raw_objects() == []
