"""Moments like a given one, for the feedback queue: episodes that were asked for the like, at the step most like it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import numpy as np

from inference.models import InferenceResult
from pipeline.embeddings.search import results_like


def moments_like(result: InferenceResult, *, threshold: float, limit: int) -> Mapping[uuid.UUID, float]:
    """At most ``limit`` results, most like first, with how like they are: ``threshold`` to 1.

    What was said decides which episodes are alike; an episode has one row of that. Of each other episode, the moment is
    the step whose robot was nearest to this one's: in the distance of states, each entry in shares of its spread.
    Raises ``Problem`` 404 before ``result`` has been embedded.
    """
    alike = {found: score for found, score in results_like(result).items() if score >= threshold}
    episode_of = dict(InferenceResult.objects.filter(pk__in=alike).values_list("pk", "episode"))
    moments: dict[uuid.UUID, float] = {}
    seen = {result.episode_id} - {None}
    for found, score in alike.items():
        episode = episode_of.get(found)
        if found not in episode_of or (episode is not None and episode in seen):
            continue
        seen.add(episode)
        moments[found if episode is None else _nearest_step(episode, result) or found] = score
        if len(moments) == limit:
            break
    return moments


def _nearest_step(episode: uuid.UUID, result: InferenceResult) -> uuid.UUID | None:
    steps: Sequence[tuple[uuid.UUID, list[float]]] = [
        (step, state)
        for step, state in InferenceResult.objects.sent()
        .filter(episode=episode)
        .order_by("step", "created_at")
        .values_list("pk", "input_state")
        if len(state) == len(result.input_state)
    ]
    if not steps:
        return None
    states = np.array([state for _, state in steps], dtype=np.float64)
    spread = states.std(axis=0)
    apart = (states - np.asarray(result.input_state)) / np.where(spread > 0, spread, 1.0)
    return steps[int(np.square(apart).sum(axis=1).argmin())][0]
