"""From a robot's bytes to a validated observation: shapes, types, finiteness and image headers, with pointers."""

from __future__ import annotations

import math
import re
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pybase64
from django.conf import settings

from collections_app.snapshots import CollectionSnapshot
from core import strict_json
from core.problems import FieldError, Problem, invalid
from inference.engine.submission import EncodedImage, Image, RawImage
from inference.exceptions import ImageRefusedError, ImageTooLargeError
from inference.images import inspect

MAX_INSTRUCTION = 2000
MAX_NAME = 64
_KNOWN_FIELDS = frozenset(
    {
        "collection",
        "request_id",
        "robot",
        "episode",
        "step",
        "instruction",
        "state",
        "images",
        "model",
        "deadline_ms",
        "cache",
    }
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class ObservationRequest:
    """A request as the robot stated it, checked against its collection. ``request_id`` is None where it chose none."""

    request_id: uuid.UUID | None
    robot: str
    episode: str
    step: int | None
    instruction: str
    state: list[float]
    images: dict[str, Image]
    model: str | None
    deadline_ms: int | None
    cache: bool


def collection_slug(fields: Mapping[str, Any]) -> str:
    """The collection that a request names. Raises ``Problem`` 400."""
    slug = fields.get("collection")
    if not isinstance(slug, str) or not slug:
        raise invalid("/collection", "Name the collection.")
    return slug


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises ``Problem`` 400 ``malformed_json``."""
    value = strict_json.loads(body)
    if not isinstance(value, dict):
        raise Problem(400, "malformed_json", "The body must be a JSON object.")
    strict_json.refuse_duplicate_keys(body, value)
    return value


def read_multipart(fields: Mapping[str, str], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The same object from a form: images are files named by camera, ``state`` is JSON, numbers are text."""
    value: dict[str, Any] = dict(fields)
    for name in ("state", "step", "deadline_ms", "cache"):
        if name in value:
            try:
                value[name] = orjson.loads(value[name])
            except orjson.JSONDecodeError:
                raise invalid(f"/{name}", "This is not a JSON value.") from None
    value["images"] = {name.removeprefix("images.").removeprefix("images/"): data for name, data in files.items()}
    return value


def validate(fields: Mapping[str, Any], snapshot: CollectionSnapshot) -> ObservationRequest:
    """Check every field. Raises one ``Problem`` 400 that names them all, or 413 for an image that is too large."""
    errors: list[FieldError] = []

    def wrong(pointer: str, detail: str) -> None:
        errors.append(FieldError(pointer, detail))

    for name in fields.keys() - _KNOWN_FIELDS:
        wrong(f"/{_pointer(name)}", "Unknown field.")
    request_id = _request_id(fields.get("request_id"), wrong)
    robot = _text(fields, "robot", wrong, limit=MAX_NAME)
    episode = _text(fields, "episode", wrong, limit=MAX_NAME)
    instruction = _text(fields, "instruction", wrong, limit=MAX_INSTRUCTION, required=True)
    model = _text(fields, "model", wrong, limit=97) or None
    step = _whole(fields, "step", wrong, low=0, high=2**31 - 1)
    deadline = _whole(fields, "deadline_ms", wrong, low=1, high=settings.INFERENCE["MAX_DEADLINE_MS"])
    cache = fields.get("cache", False)
    if not isinstance(cache, bool):
        wrong("/cache", "Must be true or false.")
    state = _state(fields.get("state"), snapshot.state_size, wrong)
    images = _images(fields.get("images"), snapshot.cameras, wrong)
    if errors:
        raise Problem(400, "invalid", "The request is not valid.", errors=errors)
    return ObservationRequest(
        request_id, robot, episode, step, instruction, state, images, model, deadline, bool(cache)
    )


def _request_id(value: Any, wrong: Any) -> uuid.UUID | None:
    if value is None:
        return None
    try:
        return uuid.UUID(value)
    except (ValueError, TypeError, AttributeError):
        wrong("/request_id", "Must be a UUID.")
        return None


def _text(fields: Mapping[str, Any], name: str, wrong: Any, *, limit: int, required: bool = False) -> str:
    value = fields.get(name)
    if value is None:
        if required:
            wrong(f"/{name}", "This field is required.")
        return ""
    if not isinstance(value, str):
        wrong(f"/{name}", "Must be text.")
        return ""
    value = unicodedata.normalize("NFC", value)  # first, because it may lengthen
    if len(value) > limit:
        wrong(f"/{name}", f"At most {limit} characters.")
        return ""
    if _CONTROL.search(value):
        wrong(f"/{name}", "May not hold control characters.")
        return ""
    if required and not value.strip():
        wrong(f"/{name}", "May not be empty.")
    return value


def _whole(fields: Mapping[str, Any], name: str, wrong: Any, *, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        wrong(f"/{name}", "Must be a whole number.")
        return None
    if not low <= value <= high:
        wrong(f"/{name}", f"Must lie between {low} and {high}.")
        return None
    return value


def _state(value: Any, size: int, wrong: Any) -> list[float]:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiu":
            wrong("/state", "Must hold numbers.")
            return []
        value = value.astype(np.float64).ravel().tolist()
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        wrong("/state", f"Must be a list of {size} numbers.")
        return []
    if len(value) != size:
        wrong("/state", f"Must hold {size} numbers, not {len(value)}.")
        return []
    state = []
    for index, number in enumerate(value):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            wrong(f"/state/{index}", "Must be a number.")
        elif not math.isfinite(number) or abs(number) > 1e12:
            wrong(f"/state/{index}", "Must be a finite number.")
        else:
            state.append(float(number))
    return state


def _images(value: Any, cameras: Sequence[str], wrong: Any) -> dict[str, Image]:
    if not isinstance(value, Mapping):
        wrong("/images", f"Must map each camera ({', '.join(cameras)}) to an image.")
        return {}
    images: dict[str, Image] = {}
    for camera in value:
        if camera not in cameras:
            wrong(f"/images/{_pointer(camera)}", f"Unknown camera. Known are: {', '.join(cameras)}.")
    for camera in cameras:
        if camera not in value:
            wrong(f"/images/{camera}", "The image of this camera is missing.")
            continue
        try:
            images[camera] = read_image(value[camera])
        except ImageTooLargeError as error:
            raise Problem(413, "too_large", str(error), errors=[FieldError(f"/images/{camera}", str(error))]) from None
        except ImageRefusedError as error:
            wrong(f"/images/{camera}", str(error))
    return images


def read_image(value: Any) -> Image:
    """An image given as base64 text, as a file's bytes, or as a uint8 array in HWC or CHW order.

    Raises ``ImageRefusedError`` or ``ImageTooLargeError``.
    """
    max_side = settings.INFERENCE["MAX_IMAGE_SIDE"]
    if isinstance(value, np.ndarray):
        return _raw_image(value, max_side)
    if isinstance(value, str):
        text = value.partition(",")[2] if value.startswith("data:") else value
        try:
            value = pybase64.b64decode(text, validate=True)
        except ValueError:
            raise ImageRefusedError("This is not base64.") from None
    if not isinstance(value, bytes):
        raise ImageRefusedError("Must be an image.")
    return EncodedImage(value, inspect(value, max_side=max_side))


def _raw_image(pixels: np.ndarray, max_side: int) -> RawImage:
    while pixels.ndim > 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise ImageRefusedError("Must be a uint8 array of three dimensions.")
    if pixels.shape[2] != 3:
        if pixels.shape[0] != 3:
            raise ImageRefusedError("Must have three channels, first or last.")
        pixels = pixels.transpose(1, 2, 0)
    height, width = pixels.shape[:2]
    if not height or not width:
        raise ImageRefusedError("The image is empty.")
    if max(height, width) > max_side:
        raise ImageTooLargeError(f"The image is {width}×{height} pixels; {max_side}×{max_side} is the most.")
    return RawImage(np.ascontiguousarray(pixels).tobytes(), height, width)


def _pointer(name: Any) -> str:
    """A key as a part of a JSON pointer (RFC 6901, section 3)."""
    return str(name)[:MAX_NAME].replace("~", "~0").replace("/", "~1")
