"""Duplicates and near-duplicates in a collection: the same text many times, and texts that say the same."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np
from django.db.models import Count

from accounts.principals import Principal
from collections_app.models import Collection
from pipeline.embeddings.served import served
from pipeline.models import Embedding

# The most frequent texts are compared, each with each.
COMPARED = 1000
# "pick up the red cube" and "grasp the red block" are 0.25 apart, "open the drawer" and "open a drawer" 0.05.
NEAR = 0.15


@dataclass(frozen=True, slots=True)
class Said:
    """One text of a group: how often it was said, and the request that said it first."""

    text: str
    times: int
    request_id: uuid.UUID


def near_duplicates(
    *, principal: Principal, collection: Collection, distance: float = NEAR, limit: int = 50
) -> list[list[Said]]:
    """Groups of texts within ``distance`` (cosine) of the group's most frequent one; the largest groups first.

    A group of one is a text that was said more than once, word for word.
    """
    rows = served(Embedding.objects.restrict(principal).filter(collection=collection))
    grouped = rows.values("text_sha256").annotate(times=Count("pk")).order_by("-times", "text_sha256")
    times = dict(grouped.values_list("text_sha256", "times")[:COMPARED])
    first = {
        digest: (text, request, vector)
        for digest, text, request, vector in rows.filter(text_sha256__in=times, inference_result__isnull=False)
        .order_by("text_sha256", "occurred_at")
        .distinct("text_sha256")
        .values_list("text_sha256", "text", "metadata__request_id", "embedding")
    }
    order = [digest for digest in times if digest in first]
    if not order:
        return []
    vectors = np.stack([np.asarray(first[digest][2], dtype=np.float32) for digest in order])
    near = vectors @ vectors.T >= 1.0 - distance
    groups: list[list[Said]] = []
    taken = np.zeros(len(order), dtype=bool)
    for index in range(len(order)):
        if taken[index]:
            continue
        members = np.flatnonzero(near[index] & ~taken)
        taken[members] = True
        group = [Said(first[order[i]][0], times[order[i]], uuid.UUID(first[order[i]][1])) for i in members]
        if sum(said.times for said in group) > 1:
            groups.append(sorted(group, key=lambda said: -said.times))
    return sorted(groups, key=lambda group: -sum(said.times for said in group))[:limit]
