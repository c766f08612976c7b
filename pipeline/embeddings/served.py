"""Which vectors are served: the one answer for every reader, while a new model's are being made beside them."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_

from django.db.models import Q, QuerySet

from pipeline.choices import VectorSetState
from pipeline.embeddings.encoders import EncoderUnavailableError, TextModel, current_model
from pipeline.models import Embedding, VectorSet


def served(rows: QuerySet[Embedding]) -> QuerySet[Embedding]:
    """Those of ``rows`` whose model serves their collection: each text once, whatever is being made beside it."""
    conditions = [condition for _model, condition in serving_models()]
    return rows.filter(reduce(or_, conditions)) if conditions else rows.none()


def served_by_model(rows: QuerySet[Embedding]) -> Iterator[tuple[TextModel, QuerySet[Embedding]]]:
    """``served(rows)`` in parts whose vectors can be compared: one, except while collections go over to a new model."""
    for model, condition in serving_models():
        yield model, rows.filter(condition)


def serving_models() -> list[tuple[TextModel, Q]]:
    """The models that serve, and which rows of ``Embedding`` are served by each.

    Constants, and no subquery by row: the scan of a vector index goes by them row for row.
    """
    models = [TextModel(*row) for row in _serving().values_list("model_name", "model_revision", "folder").distinct()]
    if not models:
        try:
            models = [current_model()]
        except EncoderUnavailableError:
            return []
    if len(models) == 1:
        return [(models[0], _of(models[0]))]
    return [
        (model, _of(model) & Q(collection__in=_serving().filter(_of(model)).values("collection"))) for model in models
    ]


def models_of(collection_id: uuid.UUID) -> list[TextModel]:
    """The models that a collection has vectors of: the one that serves, and one whose are being made."""
    known = VectorSet.objects.open().filter(collection=collection_id)
    return [TextModel(*row) for row in known.values_list("model_name", "model_revision", "folder")]


def open_models(collection_ids: Iterable[uuid.UUID]) -> dict[tuple[str, TextModel], set[uuid.UUID]]:
    """The models that write what is new in these collections: those that serve first, then those in the making.

    A collection without any begins with the current one. Raises ``EncoderUnavailableError``.
    """
    wanted = set(collection_ids)
    current = current_model()
    new = wanted - set(VectorSet.objects.open().filter(collection__in=wanted).values_list("collection", flat=True))
    VectorSet.objects.bulk_create(
        [new_set(identifier, current, VectorSetState.SERVING) for identifier in sorted(new)], ignore_conflicts=True
    )
    models: dict[tuple[str, TextModel], set[uuid.UUID]] = defaultdict(set)
    for state in (VectorSetState.SERVING, VectorSetState.BUILDING):
        rows = VectorSet.objects.filter(collection__in=wanted, state=state)
        for *model, collection in rows.values_list("model_name", "model_revision", "folder", "collection"):
            models[state, TextModel(*model)].add(collection)
    return models


def new_set(collection_id: uuid.UUID, model: TextModel, state: VectorSetState) -> VectorSet:
    return VectorSet(
        collection_id=collection_id,
        model_name=model.name,
        model_revision=model.revision,
        folder=model.folder,
        state=state,
    )


def _serving() -> QuerySet[VectorSet]:
    return VectorSet.objects.serving().order_by("model_name", "model_revision")


def _of(model: TextModel) -> Q:
    return Q(model_name=model.name, model_revision=model.revision)
