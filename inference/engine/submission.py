"""One observation on its way from a robot to a policy: what is queued, how it is encoded, how it is read back."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from inference.policies.base import ImageArray

IMAGE_FIELD = "image:"


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A JPEG or PNG file's bytes, as the robot sent them."""

    data: bytes
    format: str  # "jpeg" or "png"


@dataclass(frozen=True, slots=True)
class RawImage:
    """Pixels as the robot sent them: ``uint8 [height, width, 3]`` RGB in C order."""

    data: bytes
    height: int
    width: int

    def array(self) -> ImageArray:
        """The pixels, read-only."""
        return np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, 3)


Image = EncodedImage | RawImage


@dataclass(frozen=True, slots=True)
class Submission:
    """A validated request for actions.

    ``state`` is in the collection's units and order; ``images`` by camera of the collection; ``digest`` is the SHA-256
    of the request's canonical content; ``deadline_ms`` counts from acceptance; ``accepted_at`` is in Unix seconds.
    """

    request_id: uuid.UUID
    collection_slug: str
    collection_id: uuid.UUID
    version_id: uuid.UUID
    robot: str
    episode: str
    step: int | None
    instruction: str
    state: list[float]
    images: Mapping[str, Image]
    deadline_ms: int
    accepted_at: float
    reply_to: str
    digest: bytes = b""
    use_cache: bool = False
    shadow_version_ids: tuple[uuid.UUID, ...] = ()
    is_shadow: bool = False


@dataclass(slots=True)
class QueuedItem:
    """A submission as a worker reads it from the queue; ``fields`` are the entry's own, passed on to the recorder."""

    entry_id: bytes
    submission: Submission
    fields: dict[bytes, bytes]
    probing: bool
    queued_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.queued_ms = int(self.entry_id.split(b"-")[0])

    @property
    def expires_ms(self) -> int:
        """When its caller stops waiting, in milliseconds of Redis' clock."""
        return self.queued_ms + self.submission.deadline_ms

    @property
    def size(self) -> int:
        return sum(len(value) for value in self.fields.values())


def content_digest(
    *,
    collection_id: uuid.UUID,
    model: str,
    robot: str,
    episode: str,
    step: int | None,
    instruction: str,
    state: list[float],
    images: Mapping[str, Image],
) -> bytes:
    """SHA-256 over what makes two requests the same; the deadline and the dialect do not."""
    digest = hashlib.sha256(
        orjson.dumps([str(collection_id), model, robot, episode, step, instruction, state, sorted(images)])
    )
    for camera in sorted(images):
        digest.update(images[camera].data)
    return digest.digest()


def to_fields(submission: Submission) -> list[bytes | str]:
    """The queue entry: field names and values in turn. Image bytes travel as bytes."""
    header = {
        "request_id": submission.request_id.hex,
        "collection": submission.collection_slug,
        "collection_id": submission.collection_id.hex,
        "version_id": submission.version_id.hex,
        "robot": submission.robot,
        "episode": submission.episode,
        "step": submission.step,
        "instruction": submission.instruction,
        "state": submission.state,
        "deadline_ms": submission.deadline_ms,
        "accepted_at": submission.accepted_at,
        "reply_to": submission.reply_to,
        "cache": submission.use_cache,
        "shadow": [version.hex for version in submission.shadow_version_ids],
        "is_shadow": submission.is_shadow,
        "images": {
            camera: image.format if isinstance(image, EncodedImage) else [image.height, image.width]
            for camera, image in submission.images.items()
        },
    }
    fields: list[bytes | str] = ["digest", submission.digest, "header", orjson.dumps(header)]
    for camera, image in submission.images.items():
        fields += [IMAGE_FIELD + camera, image.data]
    return fields


def from_fields(fields: Mapping[bytes, bytes]) -> Submission:
    """The submission of a queue or recorder entry."""
    header = orjson.loads(fields[b"header"])
    return Submission(
        request_id=uuid.UUID(header["request_id"]),
        collection_slug=header["collection"],
        collection_id=uuid.UUID(header["collection_id"]),
        version_id=uuid.UUID(header["version_id"]),
        robot=header["robot"],
        episode=header["episode"],
        step=header["step"],
        instruction=header["instruction"],
        state=header["state"],
        images={camera: _image(described, fields, camera) for camera, described in header["images"].items()},
        deadline_ms=header["deadline_ms"],
        accepted_at=header["accepted_at"],
        reply_to=header["reply_to"],
        digest=fields[b"digest"],
        use_cache=header["cache"],
        shadow_version_ids=tuple(uuid.UUID(version) for version in header["shadow"]),
        is_shadow=header["is_shadow"],
    )


def _image(described: Any, fields: Mapping[bytes, bytes], camera: str) -> Image:
    data = fields[(IMAGE_FIELD + camera).encode()]
    return EncodedImage(data, described) if isinstance(described, str) else RawImage(data, *described)
