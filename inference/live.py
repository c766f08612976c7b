"""Live events: from workers and services to whoever watches a collection.

Nothing is published for a collection that nobody watches, so a thousand robots without a viewer cost nothing here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

import orjson
from django.urls import reverse

from core.redis import engine_redis
from inference.engine import keys
from inference.engine.finisher import Finished
from inference.engine.submission import EncodedImage
from inference.images import encode_jpeg

_WATCHED_SECONDS = 0.25
_FRAME_INTERVAL = 0.15
_FRAME_LIFE_SECONDS = 30


class HelloMessage(TypedDict):
    """The first message to a viewer: what he watches, and whether what follows goes on where he asked it to."""

    type: Literal["hello"]
    collection: str
    name: str
    cameras: list[str]
    dimensions: list[dict[str, Any]]
    horizon: int
    control_rate_hz: float
    credit: int
    resumed: bool


class ResultMessage(TypedDict):
    """One answered observation."""

    type: Literal["result"]
    request_id: str
    robot: str
    episode: str
    step: int | None
    instruction: str
    actions: list[list[float]]
    safety: dict[str, Any]
    model: dict[str, str]
    timing: dict[str, Any]
    thumbnails: dict[str, str]
    created_at: str


class FeedbackMessage(TypedDict):
    """Somebody judged or corrected a result."""

    type: Literal["feedback"]
    request_id: str
    feedback_type: str
    annotator: str
    created_at: str


class LaggingMessage(TypedDict):
    """The viewer read too slowly; so many messages were left out since the last that he got."""

    type: Literal["lagging"]
    dropped: int


class Publisher:
    """A worker's publisher: knows which collections are watched, and thins out the pictures."""

    def __init__(self) -> None:
        self._watched: dict[uuid.UUID, tuple[float, bool]] = {}
        self._last_frame: dict[tuple[uuid.UUID, str], float] = {}

    def publish(self, finished: Sequence[Finished]) -> None:
        """Publish answered items of watched collections, with pictures a few times a second for each robot."""
        pipeline = None
        for one in finished:
            submission = one.item.submission
            if not self._is_watched(submission.collection_id):
                continue
            pipeline = pipeline or engine_redis().pipeline(transaction=False)
            thumbnails = {}
            if self._frame_is_due(submission.collection_id, submission.robot):
                for camera, image in submission.images.items():
                    data = image.data if isinstance(image, EncodedImage) else encode_jpeg(image.array(), quality=80)
                    pipeline.set(
                        keys.frame(submission.collection_id, submission.request_id, camera),
                        data,
                        ex=_FRAME_LIFE_SECONDS,
                    )
                    thumbnails[camera] = reverse(
                        "live-frame", args=[submission.collection_slug, submission.request_id, camera]
                    )
            answer = orjson.loads(one.body)
            message: ResultMessage = {
                "type": "result",
                "request_id": answer["request_id"],
                "robot": submission.robot,
                "episode": submission.episode,
                "step": submission.step,
                "instruction": submission.instruction,
                "actions": answer["actions"],
                "safety": answer["safety"],
                "model": answer["model"],
                "timing": answer["timing"],
                "thumbnails": thumbnails,
                "created_at": datetime.fromtimestamp(submission.accepted_at, UTC).isoformat(),
            }
            pipeline.publish(keys.live(submission.collection_id.hex), orjson.dumps(message))
        if pipeline is not None:
            pipeline.execute()

    def _is_watched(self, collection_id: uuid.UUID) -> bool:
        now = time.monotonic()
        checked = self._watched.get(collection_id)
        if checked is None or checked[0] < now:
            ((_, viewers),) = engine_redis().pubsub_numsub(keys.live(collection_id.hex))
            checked = self._watched[collection_id] = (now + _WATCHED_SECONDS, viewers > 0)
        return checked[1]

    def _frame_is_due(self, collection_id: uuid.UUID, robot: str) -> bool:
        now = time.monotonic()
        if now - self._last_frame.get((collection_id, robot), -1.0) < _FRAME_INTERVAL:
            return False
        self._last_frame[(collection_id, robot)] = now
        return True


def publish_feedback(collection_id: uuid.UUID, message: FeedbackMessage) -> None:
    """Tell the viewers of a collection about feedback; for services, after commit."""
    engine_redis().publish(keys.live(collection_id.hex), orjson.dumps(message))


def frame(collection_id: uuid.UUID, request_id: uuid.UUID, camera: str) -> bytes | None:
    """The picture of a recent step of the collection, while somebody watched."""
    return engine_redis().get(keys.frame(collection_id, request_id, camera))
