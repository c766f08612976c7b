"""What all shards of a run share is made once, by whoever comes first."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import connection

from core import object_store
from pipeline import services
from pipeline.choices import Stage
from pipeline.models import PipelineRun, QuarantinedRecord, StoredObject
from pipeline.runs import planning, preparation, selection
from pipeline.storage import layout
from tests.factories import CollectionFactory
from tests.pipeline.factories import make_episode

WAIT_SECONDS = 20


def planned_run(*, steps: int = 40) -> PipelineRun:
    collection = CollectionFactory()
    make_episode(collection, steps=steps)
    run = services.start_run(collection=collection, enqueue=False)
    planning.plan(run)
    return run


def key(run: PipelineRun, name: str) -> str:
    return layout.run_folder(run.collection.slug, run.pk) + name


@pytest.mark.django_db
def test_records_are_judged_against_a_sample_of_their_run_and_the_load_of_its_minutes():
    run = planned_run()

    reference, load = preparation.known_of_all(run)

    assert len(reference.sample) == 40
    assert load.results.sum() == 40


@pytest.mark.django_db
def test_the_sample_is_bounded_and_the_same_each_time(monkeypatch):
    monkeypatch.setattr(preparation, "REFERENCE_RECORDS", 100)
    run = planned_run(steps=400)

    first, second = (preparation._reference_of(run) for _ in range(2))

    assert first.equals(second)
    assert 50 < first.num_rows < 150


@pytest.mark.django_db
def test_a_replays_sample_is_of_its_own_episodes():
    collection = CollectionFactory()
    (episode, results), _ = (make_episode(collection, steps=200) for _ in range(2))
    origin = services.start_run(collection=collection, enqueue=False)
    QuarantinedRecord.objects.create(
        run=origin, inference_result_id=results[0].pk, stage=Stage.VALIDATE, reason="state_malformed"
    )
    replay = services.replay_quarantine(run=origin, enqueue=False)
    planning.plan(replay)

    sample = selection.sample_of_run(replay, size=100, total=replay.records_in)

    assert replay.records_in == 200
    assert set(sample.values_list("episode", flat=True)) == {episode.pk}
    assert 50 < sample.count() < 150


@pytest.mark.django_db
def test_it_is_made_for_the_first_shard_only(monkeypatch):
    run = planned_run()
    known = preparation.known_of_all(run)
    monkeypatch.setattr(preparation, "_MAKERS", dict.fromkeys(preparation._MAKERS))

    assert preparation.known_of_all(run) is known


@pytest.mark.django_db
def test_what_a_killed_worker_stored_without_entering_it_is_made_again():
    run = planned_run()
    object_store.put(key(run, preparation.REFERENCE_NAME), b"a file, but not in the catalogue")

    reference, _ = preparation.known_of_all(run)

    assert len(reference.sample) == 40
    entry = StoredObject.objects.get(key=key(run, preparation.REFERENCE_NAME))
    assert pq.read_metadata(io.BytesIO(object_store.get(entry.key))).num_rows == 40


@pytest.mark.django_db(transaction=True)
def test_two_workers_share_the_work_and_each_part_is_made_once(monkeypatch):
    run = planned_run()
    together = threading.Barrier(2)
    made: list[str] = []

    def beside_the_other(name, make):
        def made_beside(of: PipelineRun) -> pa.Table:
            made.append(name)
            together.wait(WAIT_SECONDS)
            return make(of)

        return made_beside

    makers = {name: beside_the_other(name, make) for name, make in preparation._MAKERS.items()}
    monkeypatch.setattr(preparation, "_MAKERS", makers)

    def work(_number: int) -> int:
        try:
            return len(preparation.known_of_all(run)[0].sample)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as workers:
        assert list(workers.map(work, range(2))) == [40, 40]

    assert sorted(made) == sorted(makers)
