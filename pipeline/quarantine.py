"""A record that a stage refused: what of it may be fixed, and whether it would get through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc
from django.db.models import QuerySet
from django.utils import timezone

from core import object_store
from core.problems import invalid
from inference.choices import Verdict
from inference.models import InferenceResult
from pipeline import records
from pipeline.models import QuarantinedRecord
from pipeline.stages.base import RecordSpec, Stage
from pipeline.stages.images import CheckImages
from pipeline.stages.validate import REPEATED, Validate

# What people call it, and the column. The moment is not among them: it says where the record's objects lie.
FIXABLE: Mapping[str, str] = {
    "step": "step",
    "state": "input_state",
    "actions": "output_actions",
    "proposed_actions": "proposed_actions",
    "images": "images",
}


def values_of(record: QuarantinedRecord) -> dict[str, Any]:
    """What may be fixed, as it stands."""
    return {name: getattr(record.inference_result, column) for name, column in FIXABLE.items()}


def change(record: QuarantinedRecord, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``values`` into the record's row and look whether it gets through now, among the others of its episode.

    Returns what was changed, as it was before. Raises ``Problem`` 400, for the caller's transaction to undo.
    """
    before = values_of(record)
    for name in values:
        if name not in FIXABLE:
            raise invalid(f"/{name}", "This cannot be changed.")
    changed = {name: before[name] for name, value in values.items() if value != before[name]}
    if not changed:
        raise invalid("", "Nothing was changed.")
    result: InferenceResult = record.inference_result
    images = values.get("images", before["images"])
    if not isinstance(images, dict) or not set(images.values()) <= set(before["images"].values()):
        raise invalid("/images", "Images can be left out or given to another camera; others cannot be put in.")
    if result.safety_verdict == Verdict.REJECTED and values.get("actions"):
        raise invalid("/actions", "A rejected chunk sent no actions.")
    same = InferenceResult.objects.filter(pk=result.pk, created_at=result.created_at)
    same.update(**{FIXABLE[name]: values[name] for name in changed})
    _refuse_if_still_bad(record, _neighbours(result, same))
    return changed


def _neighbours(result: InferenceResult, alone: QuerySet[InferenceResult]) -> QuerySet[InferenceResult]:
    """What a stage must see to judge the record: repeated steps are told from the others of its episode."""
    if result.episode_id is None:
        return alone
    return InferenceResult.objects.sent().filter(collection=result.collection_id, episode=result.episode_id)


def _refuse_if_still_bad(record: QuarantinedRecord, results: QuerySet[InferenceResult]) -> None:
    moment = timezone.now()
    spec = RecordSpec.of(record.run.collection, as_of=moment)
    table = records.read(results, as_of=moment)
    checks: tuple[Stage, ...] = (Validate(spec), CheckImages(spec, object_store.get))
    mine = str(record.inference_result_id)
    step = InferenceResult.objects.values_list("step", flat=True).get(pk=record.inference_result_id)
    same_step = set(map(str, results.filter(step=step).values_list("pk", flat=True)))
    for check in checks:
        if check.name == CheckImages.name:  # reads the images of what it is given
            table = table.filter(pc.field("id") == mine)
        output = check(table)
        table = output.table
        for rejection in output.rejections:
            # Of two records of one step the later is refused: that must not become another one than this.
            repeats = rejection.reason == REPEATED and rejection.result_id in same_step
            if rejection.result_id == mine or repeats:
                raise invalid("/" + _field(rejection.reason), f"{rejection.reason}: {rejection.detail}")


def _field(reason: str) -> str:
    """The field that a reason for refusal is about."""
    fields = {"state": "state", "actions": "actions", "proposed": "proposed_actions", "duplicate": "step"}
    images = ("images", "image", "unknown")
    first = reason.partition("_")[0]
    return "images" if first in images else fields.get(first, "")
