"""A run that is killed again and again ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from django.db import connection

from pipeline import services
from pipeline.choices import JobState
from pipeline.models import PipelineRun, StoredObject
from tests.factories import CollectionFactory, FeedbackFactory
from tests.pipeline import executed_run
from tests.pipeline.factories import make_episode

KILLS = 20


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pipeline.executed_run"])
    return context


def files_of(objects: Path, run: PipelineRun) -> dict[str, bytes]:
    folder = objects / f"processed/collection_{run.collection.slug}/run_{run.pk}"
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def start(processes, objects: Path, run: PipelineRun) -> BaseProcess:
    """Begin, or go on with, the run; returns when its process is about to."""
    ours, theirs = processes.Pipe()
    process = processes.Process(
        target=executed_run.execute, args=(connection.settings_dict["NAME"], str(objects), str(run.pk), theirs)
    )
    process.start()
    assert ours.recv()
    return process


def finish(processes, objects: Path, run: PipelineRun) -> None:
    process = start(processes, objects, run)
    process.join(timeout=120)
    assert process.exitcode == 0
    run.refresh_from_db()
    assert run.state == JobState.SUCCEEDED


def begin_again(objects: Path, run: PipelineRun) -> None:
    """Make it as if the run had only just been asked for."""
    shutil.rmtree(objects / "processed")
    StoredObject.objects.all().delete()
    run.shards.all().delete()
    run.stages.all().delete()
    PipelineRun.objects.filter(pk=run.pk).update(state=JobState.QUEUED, started_at=None)


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_twenty_kills_at_random_moments_change_no_byte(processes, objects: Path):
    collection = CollectionFactory()
    for _ in range(12):
        _, results = make_episode(collection, steps=8)
    FeedbackFactory(
        inference_result=results[3], feedback_type="correction", human_correction=[[0.1] * 7] * 8, rating=None
    )
    run = services.start_run(collection=collection, options={"embed": False}, enqueue=False)
    finish(processes, objects, run)
    undisturbed = files_of(objects, run)
    assert {f"batch_{n:03d}.parquet" for n in range(1, 13)} < set(undisturbed)

    begin_again(objects, run)
    moments = random.Random(7)
    for _ in range(KILLS):
        process = start(processes, objects, run)
        process.join(timeout=moments.uniform(0.0, 0.25))
        process.kill()
        process.join()
    finish(processes, objects, run)

    assert files_of(objects, run) == undisturbed
