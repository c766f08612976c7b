"""Pictures as vectors: of each episode and camera one every two seconds, oldest first.

Neighbouring pictures of an episode hardly differ; a vector for each would cost a worker a core and find the same moment
twenty times.
"""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.core.cache import cache
from django.db import connection
from django.db.models import Min
from django.utils import timezone
from PIL import Image

from core import object_store
from inference.models import InferenceResult
from pipeline.embeddings import remembered
from pipeline.embeddings.encoders import EncoderUnavailableError, TextModel
from pipeline.embeddings.image_encoders import image_encoder, image_model
from pipeline.models import ImageEmbedding

logger = structlog.get_logger(__name__)

SECONDS_APART = 2
BATCH = 32
# The recorder writes a result some time after it was made; looking back this far costs one small query.
OVERLAP = timedelta(minutes=2)
STRIDE = timedelta(hours=1)
REMOVED_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class _Picture:
    result: InferenceResult
    camera: str
    key: str

    @property
    def moment(self) -> int:
        return int(self.result.created_at.timestamp()) // SECONDS_APART

    @property
    def place(self) -> tuple[uuid.UUID, str, int]:
        """One picture is enough here; a result without an episode is on its own."""
        return (self.result.episode_id or self.result.pk, self.camera, self.moment)


def work_off(*, seconds: float) -> int:
    """Embed pictures for about ``seconds``, oldest first. Returns how many rows were made; 0 without a model."""
    model = image_model()
    if model is None:
        return 0
    end = time.monotonic() + seconds
    reached_key = f"embeddings:images:{model.name}:{model.revision}"
    made = 0
    try:
        while True:
            now = timezone.now()
            stored = cache.get(reached_key)
            start = datetime.fromisoformat(stored) if stored else _oldest()
            if start is None:
                return made
            stop = min(start + STRIDE, now)
            made += index_window(start - OVERLAP, stop, model)
            cache.set(reached_key, stop.isoformat(), timeout=None)
            if stop >= now:
                _remove_others(model)
                return made
            if time.monotonic() > end:
                return made
    except EncoderUnavailableError as error:
        logger.warning("image_indexing.unavailable", reason=str(error))
        return made


def index_window(start: datetime, end: datetime, model: TextModel) -> int:
    """Embed the pictures of results made from ``start`` to before ``end``. Returns how many rows were made."""
    results = InferenceResult.objects.filter(created_at__gte=start, created_at__lt=end, shadow=False)
    ordered = results.exclude(images={}).only(*_FIELDS).order_by("created_at", "id").iterator(chunk_size=2000)
    made = 0
    for part in _batches(_first_of_each(ordered)):
        made += _index(part, model)
    return made


def _first_of_each(results: Iterable[InferenceResult]) -> Iterator[_Picture]:
    seen = set()
    for result in results:
        for camera, key in sorted(result.images.items()):
            picture = _Picture(result, camera, key)
            if picture.place not in seen:
                seen.add(picture.place)
                yield picture


def _batches(pictures: Iterable[_Picture]) -> Iterator[list[_Picture]]:
    batch: list[_Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _index(pictures: list[_Picture], model: TextModel) -> int:
    known = set(
        ImageEmbedding.objects.of_model(model.name, model.revision)
        .filter(place__in={picture.place[0] for picture in pictures})
        .values_list("place", "camera", "moment")
    )
    read = [
        (picture, image)
        for picture in pictures
        if picture.place not in known and (image := _read(picture.key)) is not None
    ]
    if not read:
        return 0
    vectors = image_encoder(model).encode_images([image for _picture, image in read])
    _ensure_index(vectors.shape[1])
    rows = [
        ImageEmbedding(
            collection_id=picture.result.collection_id,
            inference_result=picture.result,
            episode_id=picture.result.episode_id,
            robot_id=picture.result.robot_id,
            policy_version_id=picture.result.policy_version_id,
            safety_verdict=picture.result.safety_verdict,
            occurred_at=picture.result.created_at,
            camera=picture.camera,
            place=picture.place[0],
            moment=picture.moment,
            embedding=vector,
            dimensions=len(vector),
            model_name=model.name,
            model_revision=model.revision,
        )
        for (picture, _image), vector in zip(read, vectors, strict=True)
    ]
    ImageEmbedding.objects.bulk_create(rows, ignore_conflicts=True)
    remembered.forget({picture.result.collection_id for picture, _image in read})
    return len(rows)


def _read(key: str) -> Image.Image | None:
    """The picture, or None where it is gone or damaged: a run's image stage says so, with the reason."""
    try:
        image = Image.open(io.BytesIO(object_store.get(key)))
        image.load()
    except (FileNotFoundError, OSError, ValueError):
        return None
    return image


def _ensure_index(dimensions: int) -> None:
    """The index of vectors of this length: how long they are, only the model that was installed can tell."""
    name = f"image_embedding_cosine_{int(dimensions)}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is None:
            without_lock = "" if connection.in_atomic_block else "CONCURRENTLY"
            cursor.execute(
                f"CREATE INDEX {without_lock} IF NOT EXISTS {name} ON image_embeddings "
                f"USING hnsw ((embedding::halfvec({int(dimensions)})) halfvec_cosine_ops) "
                f"WHERE dimensions = {int(dimensions)}"
            )


def _remove_others(model: TextModel) -> None:
    """Rows of a model that was here before, once this one has seen everything."""
    others = ImageEmbedding.objects.exclude(model_name=model.name, model_revision=model.revision)
    batch = list(others.order_by().values_list("pk", flat=True)[:REMOVED_AT_ONCE])
    ImageEmbedding.objects.filter(pk__in=batch).delete()


def _oldest() -> datetime | None:
    oldest: datetime | None = InferenceResult.objects.aggregate(oldest=Min("created_at"))["oldest"]
    return oldest


_FIELDS = (
    "id",
    "collection_id",
    "episode_id",
    "robot_id",
    "policy_version_id",
    "safety_verdict",
    "images",
    "created_at",
)
