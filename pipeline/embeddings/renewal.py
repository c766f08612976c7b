"""Vectors of sources that have changed: made anew from what the row says, or the picture shows, now.

A row keeps its place, so that what was marked in it stays. Where no model can make a vector the row goes: it is made
again by whatever embeds what has none.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from collections_app.models import Collection
from core import object_store
from core.personal_data import anonymise
from inference.models import InferenceResult
from pipeline.embeddings import indexing
from pipeline.embeddings.encoders import EncoderUnavailableError, TextModel
from pipeline.embeddings.image_encoders import image_encoder, image_model
from pipeline.embeddings.served import models_of
from pipeline.images.redaction import UnreadableImageError, decode
from pipeline.models import Embedding, ImageEmbedding


def renew_texts(collection: Collection, texts: Mapping[uuid.UUID, str]) -> int:
    """Make the rows of these sources, results and feedback by id, say what ``texts`` say. Returns how many changed."""
    changed: dict[tuple[str, str], list[tuple[Embedding, str]]] = defaultdict(list)
    for row in Embedding.objects.filter(source_id__in=texts).defer("embedding", "search_vector"):
        text = anonymise(texts[row.source_id]).text
        if text != row.text:
            changed[row.model_name, row.model_revision].append((row, text))
    models = {(model.name, model.revision): model for model in models_of(collection.pk)}
    for name, rows in changed.items():
        vectors = _vectors([text for _row, text in rows], models.get(name))
        for position, (row, text) in enumerate(rows):
            digest = hashlib.sha256(text.encode()).hexdigest()
            told = Embedding.objects.of_model(*name).filter(episode=row.episode_id, text_sha256=digest)
            if vectors is None or not text or (row.episode_id and told.exclude(pk=row.pk).exists()):
                row.delete()
                continue
            row.text, row.text_sha256, row.embedding = text, digest, vectors[position]
            row.save(update_fields=["text", "text_sha256", "embedding"])
    return sum(map(len, changed.values()))


def renew_pictures(result_ids: Sequence[uuid.UUID]) -> int:
    """Make these results' image vectors from the pictures that their rows name now. Returns how many changed."""
    rows = list(ImageEmbedding.objects.filter(inference_result__in=result_ids).defer("embedding"))
    if not rows:
        return 0
    keys = dict(InferenceResult.objects.filter(pk__in=result_ids).values_list("pk", "images"))
    model = image_model()
    seen = []
    for row in rows:
        picture = _picture(keys.get(row.inference_result_id, {}).get(row.camera))
        if model is None or picture is None or (row.model_name, row.model_revision) != (model.name, model.revision):
            row.delete()
        else:
            seen.append((row, picture))
    if model is not None and seen:
        try:
            vectors = image_encoder(model).encode_images([picture for _row, picture in seen])
        except EncoderUnavailableError:
            ImageEmbedding.objects.filter(pk__in=[row.pk for row, _picture in seen]).delete()
        else:
            for (row, _), vector in zip(seen, vectors, strict=True):
                row.embedding = vector
                row.save(update_fields=["embedding"])
    return len(rows)


def _vectors(texts: Sequence[str], model: TextModel | None) -> npt.NDArray[np.float32] | None:
    """None where the model is gone."""
    if model is None:
        return None
    try:
        return indexing.encode(texts, model)
    except EncoderUnavailableError:
        return None


def _picture(key: str | None) -> Image.Image | None:
    try:
        return None if key is None else Image.fromarray(decode(object_store.get(key)))
    except (FileNotFoundError, UnreadableImageError):
        return None
