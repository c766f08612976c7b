"""How far a run is: what its stages counted, added up shard by shard as they are done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from pipeline.choices import JobState, Stage
from pipeline.models import PipelineRun, StageRun

# What is left for publishing when every record has been through the stages.
SHARDS_SHARE = 0.95

Counts = Mapping[str, Mapping[str, Any]]


def add(run_id: Any, counts: Counts) -> None:
    """Count one more finished shard; called once for each, in the transaction that marks it so.

    The run's row is locked first, so that shards which end at the same moment take turns.
    """
    run = PipelineRun.objects.select_for_update(no_key=True).get(pk=run_id)
    stages = {stage.stage: stage for stage in run.stages.all()}
    for name, counted in counts.items():
        _add(stages[name], counted)
        stages[name].state = JobState.RUNNING
    StageRun.objects.bulk_update(
        [stages[name] for name in counts], ["state", "records_in", "records_out", "seconds", "counts"]
    )
    read = stages[Stage.VALIDATE].records_in
    run.progress = SHARDS_SHARE * min(read / run.records_in, 1.0) if run.records_in else SHARDS_SHARE
    run.records_out = stages[Stage.WRITE].records_out
    run.heartbeat_at = timezone.now()
    run.save(update_fields=["progress", "records_out", "heartbeat_at"])


def settle(run: PipelineRun) -> None:
    """Count all of the run's shards anew, all of them done, so that what is published follows from their rows alone."""
    totals = {stage.stage: stage for stage in run.stages.all()}
    for stage in totals.values():
        stage.records_in, stage.records_out, stage.seconds, stage.counts = 0, 0, 0.0, {}
        stage.state = JobState.SUCCEEDED
    for counts in run.shards.order_by("number").values_list("stage_counts", flat=True):
        for name, counted in counts.items():
            _add(totals[name], counted)
    StageRun.objects.bulk_update(totals.values(), ["state", "records_in", "records_out", "seconds", "counts"])
    run.records_out = totals[Stage.WRITE].records_out


def _add(stage: StageRun, counted: Mapping[str, Any]) -> None:
    stage.records_in += counted["records_in"]
    stage.records_out += counted["records_out"]
    stage.seconds += counted["seconds"]
    names = sorted({*stage.counts, *counted["counts"]})
    stage.counts = {name: stage.counts.get(name, 0) + counted["counts"].get(name, 0) for name in names}
