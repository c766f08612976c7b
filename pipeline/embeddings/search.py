"""Search: by meaning (vectors) and by words (full text), fused; filters and permission inside both queries."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Cast
from pgvector.django import CosineDistance, HalfVectorField

from accounts.principals import Principal
from core.problems import not_found
from feedback.models import Feedback
from inference.models import InferenceResult
from pipeline.embeddings.encoders import MODEL_NAME, EncoderUnavailableError, model_revision, query_encoder
from pipeline.embeddings.words import CANDIDATES, Query, with_words
from pipeline.models import EMBEDDING_DIMENSIONS, Embedding

logger = structlog.get_logger(__name__)

# Cormack, Clarke and Büttcher (2009): the score of a hit is the sum over rankings of 1 / (60 + rank).
RRF_CONSTANT = 60
# pgvector's search breadth, above CANDIDATES. At 120, recall@10 of 250,000 vectors was 0.948, in 4 ms a query.
EF_SEARCH = 600
# Beyond this cosine distance two short texts have nothing to do with one another.
MAX_DISTANCE = 0.7

MEANING, WORDS = "meaning", "words"

# Ids, best first, and how much each counts, 0..1: a text with one of five words is not found like one with all.
Ranking: TypeAlias = dict[uuid.UUID, float]


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What hits must be; None is anything. ``model`` is ``name`` or ``name@version``.

    ``label`` is a type of feedback that somebody gave about the moment; ``anomaly`` is whether a run found its episode
    out of the ordinary.
    """

    collection: str | None = None
    robot: str | None = None
    model: str | None = None
    verdict: str | None = None
    outcome: str | None = None
    tag: str | None = None
    label: str | None = None
    anomaly: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def apply(self, rows: QuerySet[Embedding]) -> QuerySet[Embedding]:
        name, _, version = (self.model or "").partition("@")
        lookups = {
            "collection__slug": self.collection,
            "robot__name": self.robot,
            "policy_version__name": name or None,
            "policy_version__version": version or None,
            "safety_verdict": self.verdict,
            "episode__outcome": self.outcome,
            "episode__tags__contains": None if self.tag is None else [self.tag],
            "occurred_at__gte": self.created_after,
            "occurred_at__lt": self.created_before,
        }
        rows = rows.filter(**{lookup: value for lookup, value in lookups.items() if value is not None})
        if self.label is not None:
            given = Feedback.objects.usable().filter(feedback_type=self.label)
            rows = rows.filter(Exists(given.filter(inference_result=OuterRef("inference_result"))))
        if self.anomaly is not None:
            odd = {"metadata__contains": {"anomalous": True}}
            rows = rows.filter(**odd) if self.anomaly else rows.exclude(**odd)
        return rows


FILTER_NAMES = tuple(field.name for field in fields(SearchFilters))


@dataclass(frozen=True, slots=True)
class Hit:
    """One moment that was found: ``score`` is relative to the best possible one, 0..1; ``matched`` says why."""

    score: float
    embedding_id: uuid.UUID
    result: InferenceResult
    text: str
    source: str
    matched: tuple[str, ...]


def search(
    *,
    principal: Principal,
    text: str = "",
    similar_to: uuid.UUID | None = None,
    filters: SearchFilters = SearchFilters(),
    limit: int = 20,
) -> list[Hit]:
    """The moments nearest to ``text``, or to the result that answered the request ``similar_to``; best first.

    Only what ``principal`` may read is looked at. Where no model is installed, words alone decide.
    Raises ``Problem`` 404 where ``similar_to`` names nothing that ``principal`` may read.
    """
    rows = filters.apply(Embedding.objects.restrict(principal).of_model(MODEL_NAME, model_revision()))
    rankings: dict[str, Ranking] = {}
    if similar_to is not None:
        origin = _origin(principal, similar_to)
        rankings[MEANING] = _ranking(nearest(rows.exclude(pk=origin.pk), np.asarray(origin.embedding)))
    elif query := Query.parse(text).meant:
        rows = Query.parse(text).apply(rows)
        vector = _query_vector(query)
        if vector is not None:
            rankings[MEANING] = _ranking(nearest(rows, vector))
        rankings[WORDS] = with_words(rows, query)
    return _hits(rankings, limit)


def fuse(rankings: Iterable[Ranking]) -> dict[uuid.UUID, float]:
    """Reciprocal-rank fusion, each place counting by its weight; the first of every ranking, fully, scores 1."""
    scores: dict[uuid.UUID, float] = {}
    count = 0
    for ranking in rankings:
        count += 1
        for rank, (identifier, weight) in enumerate(ranking.items(), start=1):
            scores[identifier] = scores.get(identifier, 0.0) + weight / (RRF_CONSTANT + rank)
    best = count / (RRF_CONSTANT + 1)
    return {identifier: score / best for identifier, score in scores.items()}


def _ranking(identifiers: Iterable[uuid.UUID]) -> Ranking:
    return dict.fromkeys(identifiers, 1.0)


def nearest(rows: QuerySet[Embedding], vector: npt.NDArray[np.float32]) -> list[uuid.UUID]:
    """The ids of the ``CANDIDATES`` rows nearest to ``vector``, ``float32 [384]``, that are near at all.

    The index holds half-precision vectors and chooses the candidates; their full-precision distances order them.
    """
    ranked = rows.annotate(
        indexed=CosineDistance(Cast("embedding", HalfVectorField(dimensions=EMBEDDING_DIMENSIONS)), vector),
        distance=CosineDistance("embedding", vector),
    ).order_by("indexed")
    with transaction.atomic(), connection.cursor() as cursor:
        # The scan goes on until enough rows pass the filters (pgvector 0.8, "iterative index scans").
        cursor.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(EF_SEARCH)])
        found = list(ranked.values_list("pk", "distance")[:CANDIDATES])
    return [identifier for identifier, distance in sorted(found, key=lambda f: f[1]) if distance <= MAX_DISTANCE]


def _origin(principal: Principal, request_id: uuid.UUID) -> Embedding:
    """The row that stands for a result: its own, or the one of its episode with its instruction."""
    results = InferenceResult.objects.restrict(principal).with_request_id(request_id)
    result = results.only("id", "episode_id", "instruction").first()
    if result is None:
        raise not_found("No such result.")
    rows = Embedding.objects.of_model(MODEL_NAME, model_revision())
    own: Embedding | None = rows.filter(source_id=result.pk).first()
    if own is None and result.episode_id is not None:
        before = rows.filter(episode=result.episode_id, occurred_at__lte=result.created_at)
        own = before.order_by("-occurred_at").first()
    if own is None:
        raise not_found("This result has not been embedded.")
    return own


@lru_cache(maxsize=512)
def _query_vector(text: str) -> npt.NDArray[np.float32] | None:
    try:
        return np.asarray(query_encoder().encode([text])[0])
    except EncoderUnavailableError as error:
        logger.info("search.words_only", reason=str(error))
        return None


def _hits(rankings: dict[str, Ranking], limit: int) -> list[Hit]:
    scores = fuse(rankings.values())
    best = sorted(scores, key=lambda identifier: (-scores[identifier], identifier))[:limit]
    rows = Embedding.objects.select_related(
        "inference_result__collection", "inference_result__robot", "inference_result__episode"
    ).in_bulk(best)
    return [
        Hit(
            round(scores[identifier], 4),
            identifier,
            rows[identifier].inference_result,
            rows[identifier].text,
            rows[identifier].source_kind,
            tuple(name for name, ranking in rankings.items() if identifier in ranking),
        )
        for identifier in best
        if identifier in rows and rows[identifier].inference_result is not None
    ]
