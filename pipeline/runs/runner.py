"""Driving a run: here and now, or as tasks; how far it is; how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from accounts import audit
from pipeline import signals
from pipeline.choices import JobState, Stage
from pipeline.models import PipelineRun, QuarantinedRecord, RunShard
from pipeline.runs import progress, publication, shards
from pipeline.runs.planning import plan
from pipeline.storage import layout

logger = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3


def execute(run: PipelineRun, *, report: Callable[[PipelineRun], None] | None = None) -> PipelineRun:
    """Take ``run`` through every stage in this process, from wherever it is. ``report`` is called after each shard.

    A failure marks the run as failed and is raised.
    """
    try:
        plan(run)
        for shard in run.shards.unfinished().order_by("number").select_related("run__collection__action_space"):
            shards.process(shard)
            if report is not None:
                run.refresh_from_db(fields=["progress", "records_out"])
                report(run)
        return finish(run)
    except Exception as error:
        fail(run, error)
        raise


def finish(run: PipelineRun) -> PipelineRun:
    """Publish the run, once all of its shards are done; of several callers one does it, the others see it done."""
    with transaction.atomic():
        run = (
            PipelineRun.objects.select_for_update(of=("self",))
            .select_related("collection__action_space")
            .get(pk=run.pk)
        )
        if run.state != JobState.RUNNING or run.shards.unfinished().exists():
            return run
        progress.settle(run)
        started = timezone.now()
        manifest = publication.publish(run)
        run.records_quarantined = run.quarantined.values("inference_result").distinct().count()
        run.state = JobState.SUCCEEDED
        run.progress = 1.0
        run.error = ""
        run.finished_at = timezone.now()
        run.report = {"manifest": manifest.key, "sha256": manifest.sha256, "stages": _stage_totals(run)}
        run.save()
        seconds = (run.finished_at - started).total_seconds()
        run.stages.filter(stage=Stage.PUBLISH).update(
            state=JobState.SUCCEEDED, records_in=run.records_out, records_out=run.records_out, seconds=seconds
        )
        _resolve_replayed(run)
        audit.record("run.published", run, changes={"records": [None, run.records_out]})
        transaction.on_commit(lambda: signals.run_published.send(PipelineRun, run_id=run.pk))
    return run


def fail(run: PipelineRun, error: Exception) -> None:
    """Mark ``run`` as failed, with the kind of the error; the whole story is in the log."""
    logger.error("run.failed", run=str(run.pk), exc_info=error)
    PipelineRun.objects.unfinished().filter(pk=run.pk).update(
        state=JobState.FAILED, error=f"{type(error).__name__}: {error}"[:2000], finished_at=timezone.now()
    )


def shard_failed(shard: RunShard, error: Exception) -> bool:
    """Note a shard's failure. Returns whether it may be tried again; if not, its run has failed."""
    shard.refresh_from_db()
    shard.error = f"{type(error).__name__}: {error}"[:2000]
    shard.state = JobState.QUEUED if shard.attempts < MAX_ATTEMPTS else JobState.FAILED
    shard.save(update_fields=["error", "state"])
    if shard.state == JobState.FAILED:
        fail(shard.run, error)
    return shard.state == JobState.QUEUED


def manifest_key(run: PipelineRun) -> str:
    return layout.run_folder(run.collection.slug, run.pk) + publication.MANIFEST_NAME


def _stage_totals(run: PipelineRun) -> dict[str, Any]:
    return {stage.stage: stage.counts for stage in run.stages.all() if stage.counts}


def _resolve_replayed(run: PipelineRun) -> None:
    """What a replay got through is no longer waiting in the run that it came from."""
    if origin := run.options.get("replay_of"):
        again = run.quarantined.values("inference_result")
        QuarantinedRecord.objects.waiting().filter(run=origin).exclude(inference_result__in=again).update(
            resolved_at=timezone.now()
        )
