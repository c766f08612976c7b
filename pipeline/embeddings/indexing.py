"""Indexing: rows for results and comments that have none yet, each distinct text encoded once."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import structlog
from django.db.models import QuerySet

from core.personal_data import anonymise
from feedback.models import Feedback
from inference.models import InferenceResult
from pipeline.choices import EmbeddingSource, VectorSetState
from pipeline.embeddings import remembered
from pipeline.embeddings.encoders import EncoderUnavailableError, TextModel, current_model, indexing_encoder
from pipeline.embeddings.served import open_models
from pipeline.models import Embedding

logger = structlog.get_logger(__name__)

WRITE_BATCH = 500


@dataclass(frozen=True, slots=True)
class _Source:
    kind: EmbeddingSource
    identifier: uuid.UUID
    result: InferenceResult
    occurred_at: datetime
    text: str
    collection_id: uuid.UUID

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def index_results(identifiers: Sequence[uuid.UUID | str]) -> int:
    """Embed the instructions of these results, once per episode and instruction. Returns how many rows were made."""
    return _index_first_of_each(InferenceResult.objects.filter(pk__in=identifiers))


def index_feedback(identifiers: Sequence[uuid.UUID | str]) -> int:
    """Embed the comments of this feedback. Returns how many rows were made."""
    return _index_comments(Feedback.objects.filter(pk__in=identifiers))


def index_window(start: datetime, end: datetime) -> int:
    """Embed whatever was recorded or said from ``start`` to before ``end``. Returns how many rows were made."""
    window = {"created_at__gte": start, "created_at__lt": end}
    return _index_first_of_each(InferenceResult.objects.filter(**window)) + _index_comments(
        Feedback.objects.filter(**window)
    )


def _index_first_of_each(candidates: QuerySet[InferenceResult]) -> int:
    """One row per episode and instruction; a result without an episode is on its own."""
    results = candidates.filter(shadow=False).exclude(instruction="").order_by("step", "created_at", "id")
    first: dict[tuple[object, str], InferenceResult] = {}
    for result in results.only(*_RESULT_FIELDS).iterator(chunk_size=2000):
        first.setdefault((result.episode_id or result.pk, result.instruction), result)
    return _index(
        _Source(EmbeddingSource.RESULT, r.pk, r, r.created_at, _clean(r.instruction), r.collection_id)
        for r in first.values()
    )


def _index_comments(candidates: QuerySet[Feedback]) -> int:
    return _index(
        _Source(EmbeddingSource.FEEDBACK, f.pk, f.inference_result, f.created_at, _clean(f.comment), f.collection_id)
        for f in candidates.exclude(comment="").select_related("inference_result")
    )


def check(model: TextModel) -> None:
    """Raises ``EncoderUnavailableError`` where nothing can be encoded with ``model``."""
    indexing_encoder(model)


def encode(texts: Sequence[str], model: TextModel) -> npt.NDArray[np.float32]:
    """``float32 [texts][384]``; a text whose vector is in the table already costs no encoding."""
    digests = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    known = _known_vectors(set(digests), model)
    missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in known}
    if missing:
        vectors = indexing_encoder(model).encode(list(missing.values()))
        known.update(zip(missing, vectors, strict=True))
    return np.stack([known[digest] for digest in digests])


def _index(sources: Iterable[_Source]) -> int:
    """Write rows with every model that is open in the source's collection: the one that serves, the one to come."""
    wanted = list(sources)
    if not wanted:
        return 0
    made = 0
    new: set[tuple[str, uuid.UUID]] = set()
    for (state, model), collections in open_models({source.collection_id for source in wanted}).items():
        part = [source for source in wanted if source.collection_id in collections]
        if state == VectorSetState.BUILDING:
            # What the model that serves knows already is copied (``reembedding``), and from the step that it chose.
            part = [source for source in part if (source.kind, source.identifier) in new]
        pending = _without_known(part, model)
        new.update((source.kind, source.identifier) for source in pending)
        try:
            _write(pending, model)
        except EncoderUnavailableError as error:
            if model == current_model():
                raise
            # The model that served until now was taken away: what is new is found once the next one serves.
            logger.warning("indexing.model_gone", reason=str(error))
            continue
        made += len(pending)
        remembered.forget({source.collection_id for source in pending})
    return made


def _write(pending: list[_Source], model: TextModel) -> None:
    for start in range(0, len(pending), WRITE_BATCH):
        part = pending[start : start + WRITE_BATCH]
        vectors = encode([source.text for source in part], model)
        rows = [_row(source, vector, model) for source, vector in zip(part, vectors, strict=True)]
        Embedding.objects.bulk_create(rows, ignore_conflicts=True)


def _without_known(sources: list[_Source], model: TextModel) -> list[_Source]:
    """``sources`` that neither have a row nor belong to an episode that has one of the same text."""
    rows = Embedding.objects.of_model(model.name, model.revision)
    own = set(
        rows.filter(source_id__in=[source.identifier for source in sources]).values_list("source_kind", "source_id")
    )
    episodes = {source.result.episode_id for source in sources if source.kind == EmbeddingSource.RESULT} - {None}
    told = set(
        rows.filter(source_kind=EmbeddingSource.RESULT, episode__in=episodes).values_list("episode_id", "text_sha256")
    )
    return [
        source
        for source in sources
        if (source.kind, source.identifier) not in own
        and not (source.kind == EmbeddingSource.RESULT and (source.result.episode_id, source.digest) in told)
    ]


def _row(source: _Source, vector: npt.NDArray[np.float32], model: TextModel) -> Embedding:
    result = source.result
    return Embedding(
        collection_id=source.collection_id,
        source_kind=source.kind,
        source_id=source.identifier,
        inference_result=result,
        episode_id=result.episode_id,
        robot_id=result.robot_id,
        policy_version_id=result.policy_version_id,
        safety_verdict=result.safety_verdict,
        occurred_at=source.occurred_at,
        text=source.text,
        text_sha256=source.digest,
        embedding=vector,
        model_name=model.name,
        model_revision=model.revision,
        metadata={"request_id": str(result.request_id), "step": result.step},
    )


def _known_vectors(digests: set[str], model: TextModel) -> dict[str, npt.NDArray[np.float32]]:
    rows = (
        Embedding.objects.of_model(model.name, model.revision)
        .filter(text_sha256__in=digests)
        .order_by("text_sha256")
        .distinct("text_sha256")
        .values_list("text_sha256", "embedding")
    )
    return {digest: np.asarray(vector, dtype=np.float32) for digest, vector in rows}


@lru_cache(maxsize=4096)
def _clean(text: str) -> str:
    return anonymise(text).text


_RESULT_FIELDS = (
    "id",
    "request_id",
    "collection_id",
    "episode_id",
    "robot_id",
    "policy_version_id",
    "safety_verdict",
    "step",
    "instruction",
    "created_at",
)
