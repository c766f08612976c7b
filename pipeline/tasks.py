"""The pipeline's Celery tasks: ids in, nothing out, safe to run twice. Importing this module loads no torch."""

from __future__ import annotations

import uuid
from datetime import timedelta

import structlog
from celery import shared_task
from django.db import connection

from core.problems import Problem
from pipeline.choices import JobState
from pipeline.models import Export, PipelineRun, RetentionRule, RunShard, VectorSet

logger = structlog.get_logger(__name__)

STALLED_AFTER = timedelta(minutes=3)
# A task this long leaves room for others between two of its kind.
MAKING_SECONDS = 20


@shared_task
def ensure_partitions() -> None:
    """Make the partitions of ``inference_results`` for this month and the three after it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT create_inference_results_partition((now() + make_interval(months => ahead))::date) "
            "FROM generate_series(0, 3) AS ahead"
        )


@shared_task
def embed_backlog() -> None:
    """Embed what has no vector yet. Beat sends it every few seconds; while one is at work the others return at once."""
    from pipeline.embeddings import backlog
    from pipeline.locks import held_by_one

    with held_by_one("embed-backlog") as mine:
        if mine:
            backlog.work_off(seconds=20)


@shared_task
def embed_images() -> None:
    """Embed pictures that have no vector yet, where an image model is installed."""
    from pipeline.embeddings import image_indexing
    from pipeline.locks import held_by_one

    with held_by_one("embed-images") as mine:
        if mine:
            image_indexing.work_off(seconds=20)


@shared_task
def draw_maps() -> None:
    """Draw anew the maps of collections whose embeddings changed."""
    from pipeline.embeddings import map as maps
    from pipeline.locks import held_by_one

    with held_by_one("draw-maps") as mine:
        if mine:
            maps.draw_changed()


@shared_task
def renew_vectors() -> None:
    """Where the model has changed, have each collection's vectors made anew; remove those that serve no longer."""
    from pipeline.embeddings import reembedding

    for vector_set_id in reembedding.begin():
        make_vectors.delay(vector_set_id)
    reembedding.remove_retired()


@shared_task
def look_after_vector_index() -> None:
    """Measure the vector index, and do what it needs."""
    from pipeline.embeddings import index_health
    from pipeline.locks import held_by_one

    with held_by_one("vector-index") as mine:
        if mine:
            index_health.maintain(index_health.measure())


@shared_task
def make_vectors(vector_set_id: int) -> None:
    """Go on with a collection's vectors by a new model; another task does the rest."""
    from pipeline.embeddings import map as maps
    from pipeline.embeddings import reembedding
    from pipeline.storage import deletion

    serves = reembedding.work_on(vector_set_id, seconds=MAKING_SECONDS)
    if serves:
        vectors = VectorSet.objects.select_related("collection").get(pk=vector_set_id)
        maps.draw(vectors.collection)
        deletion.refresh_embeddings_file(vectors.collection)
    elif serves is False:
        make_vectors.delay(vector_set_id)


@shared_task
def embed_results(result_ids: list[str]) -> None:
    from pipeline.embeddings import indexing

    indexing.index_results(result_ids)


@shared_task
def embed_feedback(feedback_id: str) -> None:
    from pipeline.embeddings import indexing

    indexing.index_feedback([feedback_id])


@shared_task
def run_pipeline(run_id: str) -> None:
    """Plan a run and hand its unfinished shards to the workers."""
    from pipeline.runs import planning, runner

    run = _open_run(run_id)
    if run is None:
        return
    try:
        planning.plan(run)
    except Exception as error:
        runner.fail(run, error)
        return
    for shard_id in run.shards.unfinished().order_by("number").values_list("pk", flat=True):
        process_shard.delay(shard_id)
    runner.finish(run)


@shared_task
def process_shard(shard_id: int) -> None:
    """Work off one shard; whoever does the last one publishes the run."""
    from pipeline.runs import runner, shards

    shard = RunShard.objects.select_related("run__collection__action_space").filter(pk=shard_id).first()
    if shard is None or shard.run.state != JobState.RUNNING:
        return
    if shard.state != JobState.SUCCEEDED:
        try:
            shards.process(shard)
        except Exception as error:
            if runner.shard_failed(shard, error):
                process_shard.apply_async((shard_id,), countdown=2**shard.attempts)
            return
    try:
        runner.finish(shard.run)
    except Exception as error:
        runner.fail(shard.run, error)


@shared_task
def follow_up_run(run_id: str) -> None:
    """Ask people about a published run's anomalies, and write the collection's vectors anew."""
    from pipeline.embeddings import file
    from pipeline.runs import follow_up

    run = PipelineRun.objects.select_related("collection").filter(pk=run_id, state=JobState.SUCCEEDED).first()
    if run is not None:
        follow_up.ask_about_anomalies(run)
        file.write(run.collection)


@shared_task
def start_nightly_runs() -> None:
    from pipeline import schedule

    schedule.start_nightly_runs()


@shared_task
def start_runs_for_feedback() -> None:
    from pipeline import schedule

    schedule.start_runs_for_feedback()


@shared_task
def resume_stalled() -> None:
    """Hand out again what a killed worker left behind."""
    for run in PipelineRun.objects.stalled(STALLED_AFTER):
        run_pipeline.delay(str(run.pk))
    for export in Export.objects.stalled(STALLED_AFTER):
        write_export.delay(str(export.pk))


@shared_task
def apply_retention() -> None:
    """Do what every enabled retention rule says."""
    from pipeline.storage import retention

    for rule in RetentionRule.objects.filter(enabled=True, legal_hold=False).select_related("collection"):
        retention.apply(rule)


@shared_task
def apply_retention_rule(rule_id: int) -> None:
    """Do what one rule says, now."""
    from pipeline.storage import retention

    rule = RetentionRule.objects.filter(pk=rule_id).select_related("collection").first()
    if rule is not None:
        retention.apply(rule)


@shared_task
def purge_raw(run_id: str) -> None:
    """Purge the raw data behind a published run."""
    from pipeline.storage import purging

    run = PipelineRun.objects.select_related("collection__action_space").filter(pk=run_id).first()
    if run is None:
        return
    try:
        purging.purge(run)
    except Problem as problem:
        logger.warning("purge.refused", run=run_id, reason=problem.detail)


@shared_task
def back_up() -> None:
    """The nightly backup."""
    from pipeline.backups import services

    services.back_up()


@shared_task
def write_export(export_id: str) -> None:
    from pipeline.exports import writer

    export = Export.objects.select_related("collection__action_space").filter(pk=export_id).first()
    if export is not None and export.state in (JobState.QUEUED, JobState.RUNNING):
        writer.write(export)


def _open_run(run_id: str) -> PipelineRun | None:
    runs = PipelineRun.objects.unfinished().select_related("collection__action_space")
    return runs.filter(pk=uuid.UUID(run_id)).first()
