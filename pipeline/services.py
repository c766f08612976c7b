"""Starting, cancelling and replaying: validated, atomic, audited, and enqueued once the change is committed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Min
from django.utils import timezone

from accounts import audit
from accounts.models import User
from collections_app.models import Collection
from core.problems import Problem, invalid
from pipeline import quarantine, tasks
from pipeline.choices import ExportFormat, JobState
from pipeline.exports.query import ExportQuery
from pipeline.models import Export, PipelineRun, QuarantinedRecord, RetentionRule, SavedSearch, StoredObject
from pipeline.storage import purging

OPTIONS = frozenset({"embed", "check_images"})


@transaction.atomic
def start_run(
    *,
    collection: Collection,
    requested_by: User | None = None,
    window_start: datetime | None = None,
    window_end: datetime | None = None,
    trigger: str = "manual",
    options: Mapping[str, Any] | None = None,
    enqueue: bool = True,
) -> PipelineRun:
    """Start a run over the records made from ``window_start`` to before ``window_end``; by default over all of them.

    ``options``: ``embed`` (True) embeds what has no vector yet, ``check_images`` (True) reads every image. Without
    ``enqueue`` the caller executes the run.
    Raises ``Problem`` 400.
    """
    for name in options or {}:
        if name not in OPTIONS:
            raise invalid(f"/options/{name}", "No such option.")
    end = window_end or timezone.now()
    start = window_start or _first_record(collection) or collection.created_at
    if start >= end:
        raise invalid("/window_end", "The window must end after it starts.")
    return _create_run(collection, start, end, requested_by, trigger, dict(options or {}), enqueue)


@transaction.atomic
def replay_quarantine(*, run: PipelineRun, requested_by: User | None = None, enqueue: bool = True) -> PipelineRun:
    """Start a run over what ``run`` still holds in quarantine; what gets through is resolved there.

    Raises ``Problem`` 409 where nothing waits.
    """
    if not run.quarantined.waiting().exists():
        raise Problem(409, "nothing_to_replay", "This run holds nothing in quarantine.")
    options = {**run.options, "replay_of": str(run.pk)}
    return _create_run(run.collection, run.window_start, run.window_end, requested_by, "replay", options, enqueue)


@transaction.atomic
def fix_quarantined(
    *,
    record: QuarantinedRecord,
    values: Mapping[str, Any],
    fixed_by: User | None = None,
    replay: bool = True,
    enqueue: bool = True,
) -> PipelineRun | None:
    """Change what a refused record says (``quarantine.FIXABLE``) so that it gets through; the original is kept with it.

    Returns the run that takes it up at once, or None without ``replay``: then the next replay does.
    Raises ``Problem`` 400 where it would be refused again, 409 where it is resolved.
    """
    locked = QuarantinedRecord.objects.select_for_update(of=("self",)).select_related(
        "run__collection__action_space", "inference_result"
    )
    record = locked.get(pk=record.pk)
    if record.resolved_at is not None:
        raise Problem(409, "already_resolved", "This record has got through.")
    changed = quarantine.change(record, values)
    record.original = {**changed, **record.original}
    record.fixed_at = timezone.now()
    record.fixed_by = fixed_by
    record.save(update_fields=["original", "fixed_at", "fixed_by"])
    run = replay_quarantine(run=record.run, requested_by=fixed_by, enqueue=enqueue) if replay else None
    # The names alone: values may be personal data, and the trail admits no deletion.
    audit.record(
        "quarantined_record.fixed",
        record,
        changes={"fields": [None, sorted(changed)]},
        collection_id=record.run.collection_id,
    )
    return run


def check_fix(*, record: QuarantinedRecord, values: Mapping[str, Any]) -> None:
    """A dry run of ``fix_quarantined``: nothing is kept. Raises what it raises."""
    with transaction.atomic():
        quarantine.change(record, values)
        transaction.set_rollback(True)


@transaction.atomic
def cancel_run(*, run: PipelineRun) -> PipelineRun:
    """Cancel a run; shards at work end, no other begins. Raises ``Problem`` 409 where it has ended."""
    run = PipelineRun.objects.select_for_update().get(pk=run.pk)
    if run.state not in (JobState.QUEUED, JobState.RUNNING):
        raise Problem(409, "already_ended", "This run has ended.")
    before = run.state
    run.state = JobState.CANCELLED
    run.finished_at = timezone.now()
    run.save(update_fields=["state", "finished_at"])
    audit.record("run.cancelled", run, changes={"state": [before, run.state]})
    return run


@transaction.atomic
def purge_raw(*, run: PipelineRun) -> None:
    """Have the raw data behind a published run purged: what is left of each record is what the run published of it.

    Raises ``Problem`` 409 where that is not possible now (``storage.purging``).
    """
    purging.refuse_unless_possible(run)
    audit.record("raw_data.purge_requested", run)
    tasks.purge_raw.delay_on_commit(str(run.pk))


@transaction.atomic
def start_export(
    *,
    collection: Collection,
    export_format: str,
    query: Mapping[str, Any] | None = None,
    requested_by: User | None = None,
    enqueue: bool = True,
) -> Export:
    """Start an export of the records that ``query`` chooses (``exports.query``). Raises ``Problem`` 400."""
    if export_format not in ExportFormat.values:
        raise invalid("/format", f"Give one of {', '.join(ExportFormat.values)}.")
    export = Export(
        collection=collection,
        format=export_format,
        query=ExportQuery.parse(query or {}).as_json(),
        requested_by=requested_by,
    )
    export.full_clean()
    export.save(force_insert=True)
    audit.record("export.started", export, changes={"format": [None, export_format], "query": [None, export.query]})
    if enqueue:
        tasks.write_export.delay_on_commit(str(export.pk))
    return export


@transaction.atomic
def set_legal_hold(*, stored_object: StoredObject, held: bool) -> StoredObject:
    """Protect an object from retention, or let go of it."""
    stored_object = StoredObject.objects.select_for_update().get(pk=stored_object.pk)
    if stored_object.legal_hold != held:
        stored_object.legal_hold = held
        stored_object.save(update_fields=["legal_hold"])
        audit.record("stored_object.held" if held else "stored_object.released", stored_object)
    return stored_object


@transaction.atomic
def save_retention_rule(*, rule: RetentionRule, changed: Mapping[str, Any]) -> RetentionRule:
    """Create a rule, or change it; ``changed`` is what the audit trail will say. Raises ``ValidationError``."""
    created = rule.pk is None
    before = {} if created else RetentionRule.objects.filter(pk=rule.pk).values(*changed).first() or {}
    rule.full_clean()
    rule.save()
    audit.record(
        "retention_rule.created" if created else "retention_rule.changed",
        rule,
        changes={name: [before.get(name), str(value)] for name, value in changed.items()},
    )
    return rule


@transaction.atomic
def apply_retention_rule(*, rule: RetentionRule) -> None:
    """Have a rule applied now rather than tonight. Raises ``Problem`` 409 where it is switched off or held."""
    if not rule.enabled or rule.legal_hold:
        raise Problem(409, "rule_idle", f"{rule}: switched off or under legal hold.")
    audit.record("retention.requested", rule)
    tasks.apply_retention_rule.delay_on_commit(rule.pk)


@transaction.atomic
def delete_retention_rule(*, rule: RetentionRule) -> None:
    """Delete a rule: what it would have removed is kept from now on."""
    audit.record("retention_rule.deleted", rule, changes={"rule": [str(rule), None]})
    rule.delete()


def _create_run(
    collection: Collection,
    start: datetime,
    end: datetime,
    requested_by: User | None,
    trigger: str,
    options: dict[str, Any],
    enqueue: bool,
) -> PipelineRun:
    run = PipelineRun(
        collection=collection,
        window_start=start,
        window_end=end,
        requested_by=requested_by,
        trigger=trigger,
        options=options,
    )
    run.full_clean()
    run.save(force_insert=True)
    audit.record("run.started", run, changes={"window": [None, [start, end]], "trigger": [None, trigger]})
    if enqueue:
        tasks.run_pipeline.delay_on_commit(str(run.pk))
    return run


def _first_record(collection: Collection) -> datetime | None:
    first: datetime | None = collection.results.aggregate(first=Min("created_at"))["first"]
    return first


@transaction.atomic
def save_search(*, owner: User, name: str, query: Mapping[str, str]) -> SavedSearch:
    """Keep a search under ``name``; the owner's search of the same name is replaced. Raises ``Problem`` 400."""
    if not query.get("q") and not query.get("similar_to"):
        raise invalid("/query", "There is nothing to search for.")
    saved, _created = SavedSearch.objects.update_or_create(owner=owner, name=name, defaults={"query": dict(query)})
    audit.record("search.saved", saved, changes={"query": [None, saved.query]})
    return saved


@transaction.atomic
def delete_saved_search(*, saved: SavedSearch) -> None:
    """Forget a saved search."""
    audit.record("search.deleted", saved, changes={"name": [saved.name, None]})
    saved.delete()
