"""Runs from records to published files."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import orjson
import pyarrow.parquet as pq
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditLog
from core import object_store
from pipeline import services
from pipeline.choices import JobState, Stage
from pipeline.models import Embedding, PipelineRun, StoredObject
from pipeline.runs import cuts, planning, runner, shards
from tests.factories import CollectionFactory, FeedbackFactory, InferenceResultFactory
from tests.pipeline.factories import make_episode

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encoder")]


def run_over(collection, **options) -> PipelineRun:
    return runner.execute(services.start_run(collection=collection, enqueue=False, **options))


def folder_of(run: PipelineRun) -> str:
    return f"processed/collection_{run.collection.slug}/run_{run.pk}/"


def published(run: PipelineRun):
    data = object_store.get(folder_of(run) + "batch_001.parquet")
    return pq.read_table(io.BytesIO(data))


def manifest_of(run: PipelineRun) -> dict:
    return orjson.loads(object_store.get(folder_of(run) + "manifest.json"))


def test_a_run_publishes_every_record_with_its_correction():
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=5, outcome="success")
    fixed = [[0.1] * 7 for _ in range(8)]
    feedback = FeedbackFactory(
        inference_result=results[2], feedback_type="correction", human_correction=fixed, rating=None
    )

    run = run_over(collection)

    table = published(run)
    assert run.state == JobState.SUCCEEDED
    assert table.column("request_id").to_pylist() == [str(r.request_id) for r in results]
    assert table.column("actions").to_pylist() == [r.output_actions for r in results]
    assert table.column("state").to_pylist() == [r.input_state for r in results]
    assert table.column("corrected_actions").to_pylist() == [None, None, fixed, None, None]
    who = table.column("corrected_by").to_pylist()[2]
    assert who.startswith("person-")
    assert str(feedback.annotator_id) not in who
    assert feedback.annotator.username not in table.to_pandas().to_string()
    assert table.column("success").to_pylist() == [True] * 5


def test_the_manifest_is_last_and_names_every_file_with_its_sha256():
    collection = CollectionFactory()
    make_episode(collection)

    run = run_over(collection)

    manifest = manifest_of(run)
    assert {f["path"] for f in manifest["files"]} == {
        "batch_001.parquet",
        "validated_data.csv",
        "quarantine.parquet",
        "reference.parquet",
        "queue_load.parquet",
    }
    for file in manifest["files"]:
        data = object_store.get(folder_of(run) + file["path"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
        assert StoredObject.objects.get(key=folder_of(run) + file["path"]).sha256 == file["sha256"]
    assert manifest["records"] == {"read": 5, "written": 5, "quarantined": 0}


def test_every_stage_says_what_it_counted():
    collection = CollectionFactory()
    make_episode(collection, instruction="call me at anna.smith@example.org")

    run = run_over(collection)

    stages = {stage.stage: stage for stage in run.stages.all()}
    assert set(stages) == set(Stage.values)
    assert all(stage.state == JobState.SUCCEEDED for stage in stages.values())
    assert stages["validate"].records_in == 5
    assert stages["anonymise"].counts["EMAIL_ADDRESS"] == 5
    assert "anna.smith" not in orjson.dumps(run.report).decode()
    assert run.progress == 1.0


def test_a_bad_record_goes_to_quarantine_and_the_rest_goes_on():
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=3)
    bad = InferenceResultFactory(collection=collection, input_state=[1.0, 2.0], episode=None, robot=None)

    run = run_over(collection)

    assert run.records_quarantined == 1
    row = run.quarantined.get()
    assert (row.inference_result_id, row.stage, row.reason) == (bad.pk, "validate", "state_length")
    assert published(run).num_rows == len(results)
    quarantine = pq.read_table(io.BytesIO(object_store.get(folder_of(run) + "quarantine.parquet")))
    assert quarantine.column("result_id").to_pylist() == [str(bad.pk)]
    assert manifest_of(run)["quarantine_reasons"] == {"state_length": 1}


def test_a_fixed_record_gets_through_a_replay_and_is_resolved():
    collection = CollectionFactory()
    bad = InferenceResultFactory(collection=collection, input_state=[1.0, 2.0])
    make_episode(collection)
    run = run_over(collection)
    bad.input_state = [0.0] * 7
    bad.save()

    replay = runner.execute(services.replay_quarantine(run=run, enqueue=False))

    assert published(replay).column("request_id").to_pylist() == [str(bad.request_id)]
    assert run.quarantined.get().resolved_at is not None


def test_a_record_that_is_still_bad_stays_in_quarantine():
    collection = CollectionFactory()
    InferenceResultFactory(collection=collection, input_state=[1.0, 2.0])
    run = run_over(collection)

    replay = runner.execute(services.replay_quarantine(run=run, enqueue=False))

    assert replay.records_quarantined == 1
    assert run.quarantined.get().resolved_at is None


def test_shards_hold_whole_episodes_and_every_record_once(monkeypatch):
    monkeypatch.setattr(cuts.cuts, "__kwdefaults__", {"size": 10})
    collection = CollectionFactory()
    expected = []
    for _ in range(5):
        _, results = make_episode(collection, steps=4)
        expected += results
    _, long = make_episode(collection, steps=23)
    loose = [InferenceResultFactory(collection=collection, episode=None) for _ in range(12)]

    run = run_over(collection)

    shards = list(run.shards.order_by("number"))
    assert [s.records for s in shards] == [8, 8, 4, 10, 10, 3, 10, 2]
    found = [
        request
        for shard in shards
        for request in pq.read_table(io.BytesIO(object_store.get(folder_of(run) + shard.file["path"])))
        .column("request_id")
        .to_pylist()
    ]
    assert sorted(found) == sorted(str(r.request_id) for r in [*expected, *long, *loose])


def test_a_run_that_was_cut_off_resumes_to_the_same_bytes(monkeypatch, objects: Path):
    monkeypatch.setattr(cuts.cuts, "__kwdefaults__", {"size": 10})
    collection = CollectionFactory()
    for _ in range(6):
        make_episode(collection, steps=4)
    run = run_over(collection)
    undisturbed = {path: path.read_bytes() for path in objects.rglob("*") if path.is_file()}

    for shard in run.shards.filter(number__gt=1):
        (objects / folder_of(run) / shard.file["path"]).unlink()
        shard.state, shard.file, shard.stage_counts = JobState.RUNNING, {}, {}
        shard.save()
    (objects / folder_of(run) / "manifest.json").unlink()
    PipelineRun.objects.filter(pk=run.pk).update(state=JobState.RUNNING)
    runner.execute(PipelineRun.objects.get(pk=run.pk))

    assert {path: path.read_bytes() for path in objects.rglob("*") if path.is_file()} == undisturbed


def test_progress_follows_the_records_of_finished_shards(monkeypatch):
    monkeypatch.setattr(cuts.cuts, "__kwdefaults__", {"size": 10})
    collection = CollectionFactory()
    for _ in range(4):
        make_episode(collection, steps=8)
    seen: list[tuple[float, int, int]] = []

    def look(run: PipelineRun) -> None:
        validate = run.stages.get(stage=Stage.VALIDATE)
        seen.append((round(run.progress, 4), run.records_out, validate.records_in))

    runner.execute(services.start_run(collection=collection, enqueue=False), report=look)

    assert seen == [(0.2375, 8, 8), (0.475, 16, 16), (0.7125, 24, 24), (0.95, 32, 32)]


def test_a_shard_that_two_workers_do_is_counted_once():
    collection = CollectionFactory()
    make_episode(collection, steps=5)
    run = services.start_run(collection=collection, enqueue=False)
    planning.plan(run)
    shard = run.shards.select_related("run__collection__action_space").get()

    shards.process(shard)
    shards.process(shard)

    assert run.stages.get(stage=Stage.VALIDATE).records_in == 5
    run.refresh_from_db()
    assert run.records_out == 5


def test_a_part_of_the_csv_that_was_torn_is_made_again(monkeypatch, objects: Path):
    monkeypatch.setattr(cuts.cuts, "__kwdefaults__", {"size": 10})
    collection = CollectionFactory()
    for _ in range(3):
        make_episode(collection, steps=8)
    run = run_over(collection)
    csv = objects / folder_of(run) / "validated_data.csv"
    whole = csv.read_bytes()
    run.shards.update(state=JobState.QUEUED, stage_counts={})
    PipelineRun.objects.filter(pk=run.pk).update(state=JobState.RUNNING)
    for shard in run.shards.order_by("number").select_related("run__collection__action_space"):
        shards.process(shard)
    part = objects / folder_of(run) / "batch_002.csv"
    part.write_bytes(part.read_bytes()[:100])

    runner.finish(run)

    assert csv.read_bytes() == whole
    assert manifest_of(run)["statistics"]["state"]["count"] == 24, "each shard is counted once"


def test_records_are_read_where_queries_are_logged():
    collection = CollectionFactory()
    make_episode(collection, steps=3)

    with CaptureQueriesContext(connection):
        run = run_over(collection)

    assert run.records_out == 3


def test_every_record_says_how_many_answers_its_minute_had():
    collection = CollectionFactory()
    first = datetime(2026, 11, 20, 9, 0, 50, tzinfo=UTC)
    for number in range(2):
        make_episode(collection, steps=60, start=first + timedelta(seconds=number))
    InferenceResultFactory(collection=collection, shadow=True, created_at=first)
    make_episode(CollectionFactory(), steps=9, start=first)

    table = published(run_over(collection))

    minutes = [moment.minute for moment in table.column("created_at").to_pylist()]
    expected = {0: minutes.count(0) + 1, 1: minutes.count(1)}  # the shadow answer waited in the queue, too
    assert min(expected.values()) > 1
    assert table.column("queue_load").to_pylist() == [expected[minute] for minute in minutes]


def test_an_empty_window_publishes_an_empty_run():
    run = run_over(CollectionFactory())

    assert run.state == JobState.SUCCEEDED
    assert manifest_of(run)["records"] == {"read": 0, "written": 0, "quarantined": 0}


def test_shadow_chunks_and_other_collections_are_not_read():
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=2)
    InferenceResultFactory(collection=collection, shadow=True)
    make_episode(CollectionFactory(), steps=2)

    assert published(run_over(collection)).num_rows == len(results)


def test_a_run_embeds_what_has_no_vector_yet(encoder):
    collection = CollectionFactory()
    episode, results = make_episode(collection)

    run_over(collection)

    row = Embedding.objects.get(collection=collection)
    assert (row.source_id, row.episode_id, row.text) == (results[0].pk, episode.pk, "pick up the red cube")
    assert encoder.encoded == ["pick up the red cube"]


def test_the_parquet_opens_in_duckdb(objects: Path):
    collection = CollectionFactory()
    make_episode(collection, steps=6)
    run = run_over(collection)

    path = objects / folder_of(run) / "batch_001.parquet"
    [(steps, horizon)] = duckdb.sql(f"SELECT max(step), max(len(actions)) FROM '{path}'").fetchall()

    assert (steps, horizon) == (5, 8)


def test_the_csv_has_a_row_per_record(objects: Path):
    collection = CollectionFactory()
    make_episode(collection, steps=4)
    run = run_over(collection)

    rows = (objects / folder_of(run) / "validated_data.csv").read_text().splitlines()

    assert len(rows) == 5
    assert rows[0].startswith("request_id,")
    assert not list((objects / folder_of(run)).glob("batch_*.csv")), "the shards' parts are gone once put together"


def test_starting_and_publishing_a_run_is_audited():
    collection = CollectionFactory()
    make_episode(collection, steps=1)

    run = run_over(collection)

    actions = AuditLog.objects.filter(resource_id=run.pk).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["run.started", "run.published"]
