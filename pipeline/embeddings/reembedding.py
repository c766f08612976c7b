"""A new model's vectors, made beside the old ones: those serve until the new ones are complete.

Each collection goes over on its own, by a task on any worker. What the old model's rows know, text and all, is copied
with a new vector; what arrives meanwhile is written with both models (``indexing``).
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from pipeline.choices import VectorSetState
from pipeline.embeddings import indexing, remembered
from pipeline.embeddings.encoders import EncoderUnavailableError, TextModel, current_model
from pipeline.embeddings.served import new_set
from pipeline.locks import held_by_one
from pipeline.models import Embedding, VectorSet

logger = structlog.get_logger(__name__)

BATCH = 500
REMOVED_AT_ONCE = 5000
# A search that began before the switch still reads the old rows.
KEPT = timedelta(minutes=10)
SILENT = timedelta(minutes=2)
_COPIED = (
    "collection_id",
    "source_kind",
    "source_id",
    "inference_result_id",
    "episode_id",
    "robot_id",
    "policy_version_id",
    "safety_verdict",
    "occurred_at",
    "text",
    "text_sha256",
    "metadata",
)


def begin() -> list[int]:
    """Open a set for every collection that another model than the current one serves.

    Returns the ids of the sets that nobody is at work on. Without the current model's weights nothing begins.
    """
    sets = VectorSet.objects
    try:
        model = current_model()
        if sets.serving().exclude(pk__in=sets.of_model(model.name, model.revision)).exists():
            indexing.check(model)
    except EncoderUnavailableError as error:
        logger.warning("reembedding.unavailable", reason=str(error))
        return []
    now = timezone.now()
    # A model that was given up before it was complete, and one that returns before its rows were removed.
    sets.building().exclude(pk__in=sets.of_model(model.name, model.revision)).update(
        state=VectorSetState.RETIRED, retired_at=now
    )
    sets.retired().of_model(model.name, model.revision).update(state=VectorSetState.BUILDING, retired_at=None)
    left = sets.serving().exclude(pk__in=sets.of_model(model.name, model.revision)).values_list("collection", flat=True)
    sets.bulk_create([new_set(pk, model, VectorSetState.BUILDING) for pk in left], ignore_conflicts=True)
    idle = sets.building().exclude(heartbeat_at__gt=now - SILENT)
    return list(idle.order_by("pk").values_list("pk", flat=True))


def work_on(vector_set_id: int, *, seconds: float) -> bool | None:
    """Go on with a set for about ``seconds``. Returns whether it serves now; None where there is nothing to do for us:
    another is at it, or it is given up.
    """
    with held_by_one(f"vectors-{vector_set_id}") as mine:
        vectors = VectorSet.objects.building().filter(pk=vector_set_id).first() if mine else None
        if vectors is None:
            return None
        end = time.monotonic() + seconds
        old = _serving_rows(vectors)
        vectors.wanted = old.count()
        tried: set[uuid.UUID] = set()
        while time.monotonic() < end:
            if not _copy_next(vectors, old) and not _copy_missed(vectors, old, tried):
                return _switch(vectors)
        return False


def remove_retired() -> int:
    """Remove the rows of sets that serve no longer. Returns how many were removed."""
    removed = 0
    for vectors in VectorSet.objects.retired().filter(retired_at__lt=timezone.now() - KEPT):
        rows = _rows(vectors)
        while batch := list(rows.order_by().values_list("pk", flat=True)[:REMOVED_AT_ONCE]):
            removed += Embedding.objects.filter(pk__in=batch).delete()[0]
        VectorSet.objects.retired().filter(pk=vectors.pk).delete()
    return removed


def _copy_next(vectors: VectorSet, old: QuerySet[Embedding]) -> int:
    """The next stretch of rows, by id."""
    following = old.order_by("pk") if vectors.copied_to is None else old.filter(pk__gt=vectors.copied_to).order_by("pk")
    batch = list(following.only("pk", *_COPIED)[:BATCH])
    if batch:
        _copy(vectors, batch)
        vectors.copied_to = batch[-1].pk
        _tell(vectors)
    return len(batch)


def _copy_missed(vectors: VectorSet, old: QuerySet[Embedding], tried: set[uuid.UUID]) -> int:
    """Rows that came while the walk was past them. One that was ``tried`` has its like under another step of its
    episode.
    """
    like = _rows(vectors).filter(source_kind=OuterRef("source_kind"), source_id=OuterRef("source_id"))
    batch = list(old.filter(~Exists(like)).exclude(pk__in=tried).only("pk", *_COPIED)[:BATCH])
    _copy(vectors, batch)
    tried.update(row.pk for row in batch)
    _tell(vectors)
    return len(batch)


def _copy(vectors: VectorSet, batch: list[Embedding]) -> None:
    if not batch:
        return
    made = indexing.encode([row.text for row in batch], _model(vectors))
    Embedding.objects.bulk_create(
        [
            Embedding(
                **{name: getattr(row, name) for name in _COPIED},
                embedding=vector,
                model_name=vectors.model_name,
                model_revision=vectors.model_revision,
            )
            for row, vector in zip(batch, made, strict=True)
        ],
        ignore_conflicts=True,
    )
    vectors.made += len(batch)


def _tell(vectors: VectorSet) -> None:
    vectors.heartbeat_at = timezone.now()
    vectors.save(update_fields=["made", "wanted", "copied_to", "heartbeat_at"])


@transaction.atomic
def _switch(vectors: VectorSet) -> bool:
    """Let the new rows serve, in one step. False where somebody gave this model up meanwhile."""
    sets = VectorSet.objects.select_for_update().filter(collection=vectors.collection_id)
    states = dict(sets.values_list("pk", "state"))
    if states.get(vectors.pk) != VectorSetState.BUILDING:
        return False
    _catch_up(vectors)
    now = timezone.now()
    sets.serving().update(state=VectorSetState.RETIRED, retired_at=now)
    VectorSet.objects.filter(pk=vectors.pk).update(state=VectorSetState.SERVING, served_at=now, heartbeat_at=None)
    remembered.forget([vectors.collection_id])
    logger.info("reembedding.switched", collection=str(vectors.collection_id), revision=vectors.model_revision)
    return True


def _catch_up(vectors: VectorSet) -> None:
    """Copies of rows that were deleted or marked in the moment between being read and being written again."""
    parameters: list[uuid.UUID | str] = [vectors.collection_id, vectors.model_name, vectors.model_revision]
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM embeddings AS copy WHERE collection_id = %s AND model_name = %s AND model_revision = %s "
            "AND NOT EXISTS (SELECT 1 FROM inference_results WHERE id = copy.inference_result_id)",
            parameters,
        )
        cursor.execute(
            "UPDATE embeddings AS copy SET metadata = old.metadata FROM embeddings AS old, vector_sets AS serving "
            "WHERE copy.collection_id = %s AND copy.model_name = %s AND copy.model_revision = %s "
            "AND serving.collection_id = copy.collection_id AND serving.state = 'serving' "
            "AND old.model_name = serving.model_name AND old.model_revision = serving.model_revision "
            "AND old.source_kind = copy.source_kind AND old.source_id = copy.source_id "
            "AND old.metadata <> copy.metadata",
            parameters,
        )


def _serving_rows(vectors: VectorSet) -> QuerySet[Embedding]:
    serving = VectorSet.objects.serving().filter(collection=vectors.collection_id).first()
    return _rows(serving) if serving else Embedding.objects.none()


def _rows(vectors: VectorSet) -> QuerySet[Embedding]:
    rows = Embedding.objects.of_model(vectors.model_name, vectors.model_revision)
    return rows.filter(collection=vectors.collection_id)


def _model(vectors: VectorSet) -> TextModel:
    return TextModel(vectors.model_name, vectors.model_revision, vectors.folder)
