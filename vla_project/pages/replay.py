"""An episode as its replay shows it: one frame per recorded result, in order."""

from __future__ import annotations

import uuid
from typing import Any, TypedDict

from collections_app.models import Collection, Episode
from inference.models import InferenceResult
from inference.results import safety_of, timing_of
from inference.selectors import image_urls
from vla_project.pages.selectors import newest_corrections

FRAMES_AT_ONCE = 500


class OtherVersion(TypedDict):
    """What a shadow version would have done: a chunk ``[horizon][dimension]`` in physical units."""

    model: str
    actions: list[list[float]]


class Frame(TypedDict):
    """One result. Chunks are ``[horizon][dimension]`` in physical units; ``proposed`` and ``corrected`` are None where
    they are what was sent and where nobody corrected it."""

    request_id: str
    step: int | None
    at: str
    model: str
    state: list[float]
    sent: list[list[float]]
    proposed: list[list[float]] | None
    corrected: list[list[float]] | None
    others: list[OtherVersion]
    safety: dict[str, Any]
    timing: dict[str, Any]
    images: dict[str, str]


class Replay(TypedDict):
    """Everything that the replay's modules draw from."""

    cameras: list[str]
    control_rate_hz: float
    dimensions: list[dict[str, Any]]
    state_names: list[str]
    frames: list[Frame]
    start_at: str


def episode_results(episode: Episode, *, part: int = 1) -> tuple[list[InferenceResult], bool]:
    """Part ``part`` (from 1) of the episode's results in their order, and whether another part follows."""
    start = (part - 1) * FRAMES_AT_ONCE
    results = InferenceResult.objects.sent().filter(episode=episode).order_by("step", "created_at")
    rows = list(results[start : start + FRAMES_AT_ONCE + 1])
    return rows[:FRAMES_AT_ONCE], len(rows) > FRAMES_AT_ONCE


def replay_of(collection: Collection, results: list[InferenceResult], *, start_at: str = "") -> Replay:
    """The frames of ``results`` with corrections and what shadow versions proposed: two queries more.

    ``start_at`` is the request id of the frame to begin with; the first where it is none of them.
    """
    space = collection.action_space
    corrections = newest_corrections(results)
    others = _shadow_chunks(results)
    return Replay(
        cameras=collection.cameras,
        control_rate_hz=space.control_rate_hz,
        dimensions=[
            {"name": d.name, "unit": d.unit, "kind": d.kind, "low": d.low, "high": d.high}
            for d in space.dimensions.all()
        ],
        state_names=space.state_names,
        frames=[_frame(result, corrections.get(result.pk), others.get(result.request_id, [])) for result in results],
        start_at=start_at,
    )


def _frame(result: InferenceResult, corrected: list[list[float]] | None, others: list[OtherVersion]) -> Frame:
    return Frame(
        request_id=str(result.request_id),
        step=result.step,
        at=result.created_at.isoformat(),
        model=f"{result.model_name}@{result.model_version}",
        state=result.input_state,
        sent=result.output_actions,
        proposed=result.proposed_actions,
        corrected=corrected,
        others=others,
        safety=safety_of(result),
        timing=timing_of(result),
        images=image_urls(result),
    )


def _shadow_chunks(results: list[InferenceResult]) -> dict[uuid.UUID, list[OtherVersion]]:
    if not results:
        return {}
    moments = [result.created_at for result in results]
    # Shadows are recorded with their request's own moment: the bounds let PostgreSQL leave other months alone.
    shadows = InferenceResult.objects.filter(
        request_id__in=[result.request_id for result in results],
        shadow=True,
        created_at__gte=min(moments),
        created_at__lte=max(moments),
    )
    chunks: dict[uuid.UUID, list[OtherVersion]] = {}
    for shadow in shadows.order_by("model_name", "model_version"):
        chunk = OtherVersion(model=f"{shadow.model_name}@{shadow.model_version}", actions=shadow.output_actions)
        chunks.setdefault(shadow.request_id, []).append(chunk)
    return chunks
