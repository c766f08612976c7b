"""Which records a run, a shard and a run's sample hold."""

from __future__ import annotations

from django.db.models import BinaryField, Func, Q, QuerySet

from inference.models import InferenceResult
from pipeline.models import PipelineRun, QuarantinedRecord, RunShard
from pipeline.records import is_any_of
from pipeline.runs.cuts import Cut


def of_run(run: PipelineRun) -> QuerySet[InferenceResult]:
    """What robots were answered in the run's window; of a replay, the episodes of what its origin holds in quarantine.

    A record is judged and described among the others of its episode; ``wanted`` says which of them a replay writes.
    """
    results = _in_window(run, InferenceResult.objects.sent())
    if run.options.get("replay_of"):
        waiting = _waiting(run).values("inference_result")
        episodes = results.filter(pk__in=waiting, episode__isnull=False).values("episode")
        results = results.filter(Q(pk__in=waiting) | Q(episode__in=episodes))
    return results


def wanted(run: PipelineRun) -> list[str] | None:
    """The ids of the records that a replay writes; None where it is none, and every record is written."""
    if not run.options.get("replay_of"):
        return None
    return [str(identifier) for identifier in _waiting(run).values_list("inference_result", flat=True)]


def _waiting(run: PipelineRun) -> QuerySet[QuarantinedRecord]:
    return QuarantinedRecord.objects.waiting().filter(run=run.options["replay_of"])


def of_shard(shard: RunShard) -> QuerySet[InferenceResult]:
    cut = Cut(shard.first_episode, shard.last_episode, shard.created_from, shard.created_to, shard.records)
    return cut.of(of_run(shard.run))


def sample_of_run(run: PipelineRun, *, size: int, total: int) -> QuerySet[InferenceResult]:
    """About ``size`` of the run's ``total`` records, the same ones each time: chosen by their ids' random end.

    The ids are asked for by themselves: of a whole window the index of a collection's newest results has them, so that
    PostgreSQL reads no record which is not chosen.
    """
    results = of_run(run)
    if total <= size:
        return results
    among = results if run.options.get("replay_of") else _in_window(run, InferenceResult.objects.all())
    id_end = Func("id", template="substr(uuid_send(%(expressions)s), 15)", output_field=BinaryField())
    threshold = (0x10000 * size // total).to_bytes(2, "big")
    chosen = among.order_by().annotate(id_end=id_end).filter(id_end__lt=threshold)
    return results.filter(is_any_of("pk", map(str, chosen.values_list("pk", flat=True))))


def _in_window(run: PipelineRun, results: QuerySet[InferenceResult]) -> QuerySet[InferenceResult]:
    return results.filter(collection=run.collection_id, created_at__gte=run.window_start, created_at__lt=run.window_end)
