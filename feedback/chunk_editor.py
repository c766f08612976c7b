"""A chunk as the pages show it: a table of numbers that works without JavaScript, and the data that draws it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from feedback.corrections import Chunk, action_dimensions, chunk_to_correct, largest_change
from feedback.forms import cell_name
from inference.models import InferenceResult
from inference.selectors import image_urls


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the table. ``value`` is text as ``<input type=number>`` wants it, whatever the language."""

    name: str
    value: str
    label: str
    error: str


@dataclass(frozen=True, slots=True)
class Column:
    """One action dimension; ``change`` is the largest one allowed between two steps. None is no limit, "" no unit."""

    name: str
    unit: str
    kind: str
    low: float | None
    high: float | None
    change: float | None


@dataclass(frozen=True, slots=True)
class ChunkEditor:
    """``original`` is what the robot was sent; ``proposed`` what the policy said, where that is something else."""

    columns: list[Column]
    rows: list[list[Cell]]
    data: dict[str, Any] = field(repr=False)


def chunk_editor(
    result: InferenceResult,
    *,
    values: Sequence[Sequence[Any]] | None = None,
    compared: Chunk | None = None,
    sides: Sequence[tuple[str, Chunk | None]] = (),
    errors: Mapping[str, str] | None = None,
    steps: Iterable[InferenceResult] = (),
) -> ChunkEditor:
    """The editor of the result's chunk, holding ``values`` (a draft, what was posted) or else the chunk itself.

    ``compared`` is a third chunk to draw: what the annotator gave, on a reviewer's page. ``sides`` are those of a
    dispute: the id of each answer, and its correction. ``steps`` are those of the episode to scrub through.
    """
    dimensions = action_dimensions(result)
    rate = result.collection.action_space.control_rate_hz
    original = chunk_to_correct(result)
    if not original:
        original = [[0.0] * len(dimensions) for _ in range(result.collection.horizon)]
    columns = [
        Column(d.name, "" if d.unit == "1" else d.unit, d.kind, d.low, d.high, largest_change(d, rate))
        for d in dimensions
    ]
    shown = values if values is not None and _fits(values, original) else original
    rows = [
        [
            Cell(
                name=cell_name(step, index),
                value=_text(shown[step][index]),
                label=_("Step %(step)d, %(name)s") % {"step": step + 1, "name": column.name},
                error=(errors or {}).get(cell_name(step, index), ""),
            )
            for index, column in enumerate(columns)
        ]
        for step in range(len(original))
    ]
    differs = bool(result.output_actions) and result.proposed_actions not in (None, result.output_actions)
    data = {
        "rate": rate,
        "columns": [
            {name: getattr(column, name) for name in ("name", "unit", "kind", "low", "high", "change")}
            for column in columns
        ],
        "original": original,
        "proposed": result.proposed_actions if differs else None,
        "compared": compared,
        "sides": [{"id": name, "chunk": chunk} for name, chunk in sides],
        "frames": [
            {"step": step.step, "current": step.pk == result.pk, "images": image_urls(step)}
            for step in steps
            if step.images
        ],
    }
    return ChunkEditor(columns, rows, data)


def is_edited(result: InferenceResult, posted: Sequence[Sequence[Any]], *, shown: Chunk | None = None) -> bool:
    """Whether a person changed a number of the editor that held ``shown``, or else the result's chunk.

    As the page wrote them: digits that its inputs do not hold are no change, nor are inputs that were not sent at all.
    """
    original = chunk_to_correct(result) or [[0.0] * len(row) for row in posted]
    before = shown if shown is not None and _fits(shown, original) else original
    pairs = zip(itertools.chain(*posted), itertools.chain(*before), strict=True)
    was_sent = any(value != "" for row in posted for value in row)
    if not was_sent or not _fits(posted, before):
        return False
    return any(value != float(_text(held)) for value, held in pairs)


def _fits(values: Any, original: Chunk) -> bool:
    """Whether ``values``, of which a draft may hold anything, has the shape of ``original``."""
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        return False
    return [len(row) for row in values] == [len(row) for row in original]


def _text(value: Any) -> str:
    """Seven digits: finer than any robot, and within the safety check's tolerance of what they stand for."""
    return f"{value:.7g}" if isinstance(value, int | float) else str(value)
