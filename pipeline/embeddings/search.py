"""Search: by meaning (vectors) and by words (full text), fused; filters and permission inside both queries."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, reduce
from itertools import islice
from operator import or_
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import structlog
from django.db.models import QuerySet

from accounts.principals import Principal, Service
from core.problems import invalid, not_found
from inference.models import InferenceResult
from pipeline.choices import SearchBy
from pipeline.embeddings import remembered
from pipeline.embeddings.encoders import EncoderUnavailableError, TextModel, query_encoder
from pipeline.embeddings.filters import ANYTHING, SearchFilters
from pipeline.embeddings.image_encoders import image_model, image_query_encoder
from pipeline.embeddings.nearest import nearest
from pipeline.embeddings.remembered import Readable
from pipeline.embeddings.served import models_of, served_by_model, serving_models
from pipeline.embeddings.vector_index import Shape
from pipeline.embeddings.words import CANDIDATES, Query, Words
from pipeline.models import Embedding, ImageEmbedding

logger = structlog.get_logger(__name__)

# Cormack, Clarke and Büttcher (2009): the score of a hit is the sum over rankings of 1 / (60 + rank).
RRF_CONSTANT = 60
# Pictures are ranked, however far: cosines of words and pictures are small, and each model's are its own.
MAX_PICTURE_DISTANCE = 2.0

# An encoding is one core's work, and numpy lets other threads go on meanwhile.
_ENCODING = ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="encode-query")

MEANING, WORDS, PICTURE = "meaning", "words", "picture"

# Ids, best first, and how much each counts, 0..1: a text with one of five words is not found like one with all.
Ranking: TypeAlias = dict[uuid.UUID, float]
# A hit as it is remembered: the row's id, its score, and what matched.
Found: TypeAlias = tuple[str, float, list[str]]


@dataclass(frozen=True, slots=True)
class Hit:
    """One moment that was found: ``score`` is relative to the best possible one, 0..1; ``matched`` says why."""

    score: float
    embedding_id: uuid.UUID
    result: InferenceResult
    text: str
    source: str
    matched: tuple[str, ...]
    camera: str = ""


def search(
    *,
    principal: Principal,
    text: str = "",
    similar_to: uuid.UUID | None = None,
    by: str = SearchBy.TEXT,
    filters: SearchFilters = ANYTHING,
    limit: int = 20,
) -> list[Hit]:
    """The moments nearest to ``text``, or to the result that answered the request ``similar_to``; best first.

    Only what ``principal`` may read is looked at. ``by`` is what is compared: what was said, or what cameras saw. Where
    no text model is installed, words alone decide.
    Raises ``Problem`` 404 where ``similar_to`` names nothing that ``principal`` may read, 400 where pictures are asked
    for and no image model is installed.
    """
    asked = {"text": text, "similar_to": similar_to, "by": by, "filters": asdict(filters), "limit": limit}
    # What something is like may lie in another collection than those that are searched: all rights count.
    within = filters.collection if similar_to is None else None
    readable = remembered.readable(principal, collection=within)
    key = remembered.key_of(readable, asked)
    found: list[Found] | None = remembered.recall(key)
    if found is None:
        find = _by_pictures if by == SearchBy.IMAGES else _by_text
        rankings = find(principal, readable, text, similar_to, filters, max(limit, CANDIDATES))
        found = _best(rankings, limit)
        if set(rankings) != {WORDS}:  # without a model words decide for as long as there is none, and no longer
            remembered.keep(key, found)
    read = _picture_hits if by == SearchBy.IMAGES else _text_hits
    return read(found, principal, readable)


def _by_text(
    principal: Principal,
    readable: Readable,
    text: str,
    similar_to: uuid.UUID | None,
    filters: SearchFilters,
    count: int,
) -> dict[str, Ranking]:
    allowed = _restricted(Embedding.objects.all(), principal, readable)
    if similar_to is not None:
        return {MEANING: _ranking(_near_to(_readable(principal, similar_to), filters.apply(allowed), count))}
    query = Query.parse(text)
    if not query.meant:
        return {}
    serving = serving_models()
    if not serving:
        return {WORDS: {}}
    # The text is encoded on one core while the database looks for its rare words on another.
    encoding = {model: _ENCODING.submit(_query_vector, query.meant, model) for model, _of_model in serving}
    rows = query.apply(filters.apply(allowed))
    parts = [(model, rows.filter(of_model)) for model, of_model in serving]
    said, words = reduce(or_, (part for _model, part in parts)), Words.of(query.meant)
    looked_for = words.look_for(said, count)
    near = _by_meaning(parts, lambda model: encoding[model].result(), count)
    rankings = {} if near is None else {MEANING: _ranking(near)}
    return {**rankings, WORDS: words.rank(said, looked_for, near, count)}


def _restricted(rows: QuerySet[Any], principal: Principal, readable: Readable) -> QuerySet[Any]:
    """By the ids of the collections where they are few, for the same reason as the filters'."""
    if readable is None or (not isinstance(principal, Service) and principal.is_superuser):
        return rows.restrict(principal)  # type: ignore[attr-defined]
    return rows.filter(collection__in=readable)


def _by_pictures(
    principal: Principal,
    readable: Readable,
    text: str,
    similar_to: uuid.UUID | None,
    filters: SearchFilters,
    count: int,
) -> dict[str, Ranking]:
    model = image_model()
    if model is None:
        raise invalid("/by", "No image model is installed here.")
    of_model = ImageEmbedding.objects.of_model(model.name, model.revision)
    pictures = _restricted(of_model, principal, readable)
    rows = filters.apply(pictures)
    if similar_to is not None:
        result = _readable(principal, similar_to)
        origin = _picture_of(result, pictures.filter(collection=result.collection_id))
        others = rows.exclude(inference_result=origin.inference_result_id)
        return {PICTURE: _ranking(_nearest_pictures(others, np.asarray(origin.embedding), count))}
    query = Query.parse(text)
    if not query.meant:
        return {}
    try:
        vector = image_query_encoder(model).encode([query.meant])[0]
    except EncoderUnavailableError as error:
        logger.warning("search.no_image_model", reason=str(error))
        raise invalid("/by", "No image model is installed here.") from error
    return {PICTURE: _ranking(_nearest_pictures(rows, vector, count))}


def _nearest_pictures(rows: QuerySet[Any], vector: npt.NDArray[np.float32], count: int) -> dict[uuid.UUID, float]:
    # There is an index for each length of vectors.
    shape = Shape(dimensions=len(vector), whole=len(vector))
    return nearest(rows.filter(dimensions=len(vector)), vector, most=MAX_PICTURE_DISTANCE, shape=shape, count=count)


def results_like(result: InferenceResult, *, limit: int = CANDIDATES) -> dict[uuid.UUID, float]:
    """The ids of the results of the same collection that were asked for the like, and how like, 0..1; most like first.

    For work that the system does by itself: nobody's permission is asked. Raises ``Problem`` 404 before ``result`` has
    been embedded.
    """
    rows = Embedding.objects.filter(collection=result.collection_id, inference_result__isnull=False)
    distances = _near_to(result, rows, limit)
    result_of = dict(rows.filter(pk__in=distances).values_list("pk", "inference_result"))
    alike: dict[uuid.UUID, float] = {}
    for row, distance in distances.items():
        alike.setdefault(result_of[row], 1.0 - distance)
    return dict(islice(alike.items(), limit))


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


def _by_meaning(
    parts: Iterable[tuple[TextModel, QuerySet[Embedding]]],
    vector_for: Callable[[TextModel], npt.NDArray[np.float32] | None],
    count: int,
) -> dict[uuid.UUID, float] | None:
    """The rows nearest to what ``vector_for`` gives for their model, and how far; None without a vector for any."""
    distances: dict[uuid.UUID, float] = {}
    vectors = 0
    for model, part in parts:
        vector = vector_for(model)
        if vector is not None:
            vectors += 1
            distances.update(nearest(part, vector, count=count))
    best = sorted(distances, key=distances.__getitem__)[:count]
    return {identifier: distances[identifier] for identifier in best} if vectors else None


def _near_to(result: InferenceResult, rows: QuerySet[Embedding], count: int) -> dict[uuid.UUID, float]:
    origins = _origins(result)
    others = rows.exclude(pk__in=[origin.pk for origin in origins.values()])
    vectors = {model: np.asarray(origin.embedding) for model, origin in origins.items()}
    return _by_meaning(served_by_model(others), vectors.get, count) or {}


def _readable(principal: Principal, request_id: uuid.UUID) -> InferenceResult:
    results = InferenceResult.objects.restrict(principal).with_request_id(request_id)
    result: InferenceResult | None = results.only("id", "collection_id", "episode_id", "created_at").first()
    if result is None:
        raise not_found("No such result.")
    return result


def _picture_of(result: InferenceResult, pictures: QuerySet[ImageEmbedding]) -> ImageEmbedding:
    """The picture that stands for a result: its own, or the last one before it in its episode."""
    place = result.episode_id or result.pk
    before = pictures.filter(place=place, occurred_at__lte=result.created_at).order_by("-occurred_at", "camera")
    picture: ImageEmbedding | None = before.first()
    if picture is None:
        raise not_found("No picture of this result has been embedded.")
    return picture


def _origins(result: InferenceResult) -> dict[TextModel, Embedding]:
    """The rows that stand for a result, by model: its own, or the one of its episode with its instruction."""
    stand_for: dict[TextModel, Embedding] = {}
    rows = Embedding.objects.filter(collection=result.collection_id)
    for model in models_of(result.collection_id):
        of_model = rows.of_model(model.name, model.revision)
        own: Embedding | None = of_model.filter(source_id=result.pk).first()
        if own is None and result.episode_id is not None:
            before = of_model.filter(episode=result.episode_id, occurred_at__lte=result.created_at)
            own = before.order_by("-occurred_at").first()
        if own is not None:
            stand_for[model] = own
    if not stand_for:
        raise not_found("This result has not been embedded.")
    return stand_for


@lru_cache(maxsize=512)
def _query_vector(text: str, model: TextModel) -> npt.NDArray[np.float32] | None:
    try:
        return np.asarray(query_encoder(model).encode([text])[0])
    except EncoderUnavailableError as error:
        logger.info("search.words_only", reason=str(error))
        return None


def _best(rankings: dict[str, Ranking], limit: int) -> list[Found]:
    scores = fuse(rankings.values())
    best = sorted(scores, key=lambda identifier: (-scores[identifier], identifier))[:limit]
    return [
        (
            str(identifier),
            round(scores[identifier], 4),
            [name for name, ranking in rankings.items() if identifier in ranking],
        )
        for identifier in best
    ]


def _text_hits(found: list[Found], principal: Principal, readable: Readable) -> list[Hit]:
    rows = _restricted(Embedding.objects.order_by(), principal, readable)
    known = rows.select_related(*_RELATED).only("text", "source_kind", *_SHOWN).in_bulk(_identifiers(found))
    hits = []
    for identifier, score, matched in found:
        row = known.get(uuid.UUID(identifier))
        if row is not None and row.inference_result is not None:
            hits.append(Hit(score, row.pk, row.inference_result, row.text, row.source_kind, tuple(matched)))
    return hits


def _picture_hits(found: list[Found], principal: Principal, readable: Readable) -> list[Hit]:
    rows = _restricted(ImageEmbedding.objects.order_by(), principal, readable)
    known = rows.select_related(*_RELATED).only("camera", *_SHOWN).in_bulk(_identifiers(found))
    hits = []
    for identifier, score, matched in found:
        row = known.get(uuid.UUID(identifier))
        if row is not None:
            result = row.inference_result
            hits.append(Hit(score, row.pk, result, result.instruction, "image", tuple(matched), row.camera))
    return hits


def _identifiers(found: list[Found]) -> list[uuid.UUID]:
    return [uuid.UUID(identifier) for identifier, *_ in found]


_RELATED = ("inference_result__collection", "inference_result__robot", "inference_result__episode")
# What lists of hits show. To read every column of the five tables took longer than to find the rows.
_SHOWN = tuple(
    f"inference_result__{field}"
    for field in (
        "request_id",
        "step",
        "instruction",
        "model_name",
        "model_version",
        "safety_verdict",
        "images",
        "total_ms",
        "created_at",
        "collection__slug",
        "collection__name",
        "robot__name",
        "episode__external_id",
        "episode__outcome",
    )
)
