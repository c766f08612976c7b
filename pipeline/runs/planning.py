"""Planning: a run's window is cut into shards."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from pipeline.choices import JobState, Stage
from pipeline.models import PipelineRun, RunShard, StageRun
from pipeline.runs import selection
from pipeline.runs.cuts import cuts


def plan(run: PipelineRun) -> None:
    """Cut ``run`` into shards. Does nothing where that was done before."""
    if run.shards.exists():
        return
    parts = list(cuts(selection.of_run(run), run.window_start, run.window_end))
    with transaction.atomic():
        StageRun.objects.bulk_create([StageRun(run=run, stage=stage) for stage in Stage], ignore_conflicts=True)
        RunShard.objects.bulk_create(
            [
                RunShard(
                    run=run,
                    number=number,
                    first_episode=part.first_episode,
                    last_episode=part.last_episode,
                    created_from=part.created_from,
                    created_to=part.created_to,
                    records=part.records,
                )
                for number, part in enumerate(parts, start=1)
            ],
            ignore_conflicts=True,
        )
        run.state = JobState.RUNNING
        run.records_in = sum(part.records for part in parts)
        run.started_at = run.started_at or timezone.now()
        run.heartbeat_at = timezone.now()
        run.save(update_fields=["state", "records_in", "started_at", "heartbeat_at"])
