"""A collection on a plane: its distinct texts by the two principal components of their vectors.

Principal components (Pearson, 1901) and not t-SNE: the same collection gives the same map, distances mean something,
and the share of the variance that the plane shows can be said beside it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from django.db.models import Count

from accounts.principals import Principal
from collections_app.models import Collection
from pipeline.embeddings.served import served
from pipeline.models import CollectionMap, Embedding

# A plane with more points cannot be read, nor picked from.
MAX_POINTS = 3000


def draw(collection: Collection) -> CollectionMap | None:
    """Draw the map of the collection's most frequent texts and keep it; None where there are fewer than three."""
    rows = served(Embedding.objects.filter(collection=collection))
    count = rows.count()
    grouped = rows.values("text_sha256").annotate(times=Count("pk")).order_by("-times", "text_sha256")
    times = dict(grouped.values_list("text_sha256", "times")[:MAX_POINTS])
    first = (
        rows.filter(text_sha256__in=times, inference_result__isnull=False)
        .order_by("text_sha256", "occurred_at")
        .distinct("text_sha256")
        .values_list("text_sha256", "text", "metadata__request_id", "embedding")
    )
    chosen = list(first)
    if len(chosen) < 3:
        CollectionMap.objects.filter(collection=collection).delete()
        return None
    plane, explained = project(np.stack([np.asarray(vector, dtype=np.float32) for *_, vector in chosen]))
    points = [
        {"x": round(float(x), 4), "y": round(float(y), 4), "text": text, "times": times[digest], "request_id": request}
        for (digest, text, request, _), (x, y) in zip(chosen, plane, strict=True)
    ]
    drawn, _created = CollectionMap.objects.update_or_create(
        collection=collection, defaults={"points": points, "explained": explained, "embeddings": count}
    )
    return drawn


def draw_changed() -> int:
    """Draw anew the maps of collections that gained or lost embeddings. Returns how many were drawn."""
    counts = dict(
        served(Embedding.objects.all())
        .values("collection")
        .annotate(rows=Count("pk"))
        .order_by()
        .values_list("collection", "rows")
    )
    known = dict(CollectionMap.objects.values_list("collection", "embeddings"))
    changed = [pk for pk, rows in counts.items() if known.get(pk) != rows]
    CollectionMap.objects.exclude(collection__in=counts).delete()
    return sum(draw(collection) is not None for collection in Collection.objects.filter(pk__in=changed))


def map_of(principal: Principal, collection: Collection) -> CollectionMap | None:
    """The collection's map, where ``principal`` may read it and it has been drawn."""
    return CollectionMap.objects.restrict(principal).filter(collection=collection).first()


def project(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], float]:
    """``vectors [n][d]`` on their two principal components, scaled to -1..1, and the share of variance shown, 0..1."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    plane = centred @ axes[:, -2:][:, ::-1]
    # An axis has no sign of its own: the largest coordinate is made positive, so that maps do not flip.
    plane *= np.where(plane[np.abs(plane).argmax(axis=0), range(2)] < 0, -1.0, 1.0)
    total = float(variances.sum())
    widest = float(np.abs(plane).max()) or 1.0
    return plane / widest, float(variances[-2:].sum() / total) if total > 0 else 0.0
