"""Covering what was found: a flat colour, so that nothing can be recovered, and a new file, so that no metadata is."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from pipeline.images.regions import Box, Image, RegionFinder

COVER = (114, 114, 114)
TEXT_MARGIN = 0.25
FACE_MARGIN = 0.15
JPEG_QUALITY = 92


class UnreadableImageError(Exception):
    """Not an image, or a broken one."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """``image`` is ``uint8 [height, width, 3]`` RGB with ``text_regions`` and ``faces`` covered."""

    image: Image
    text_regions: int
    faces: int


def decode(data: bytes) -> Image:
    """``uint8 [height, width, 3]`` RGB, upright. Raises ``UnreadableImageError``."""
    try:
        with PillowImage.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"]) as opened:
            upright = ImageOps.exif_transpose(opened)
            return np.asarray(upright.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise UnreadableImageError(str(error)) from error


def encode(image: Image, *, comment: bytes = b"") -> bytes:
    """A JPEG without EXIF, ICC profile or thumbnail."""
    sink = io.BytesIO()
    PillowImage.fromarray(image).save(sink, "JPEG", quality=JPEG_QUALITY, comment=comment)
    return sink.getvalue()


def redact(image: Image, *, text: RegionFinder, faces: RegionFinder) -> Redacted:
    """A copy of ``image`` with every text region and face covered."""
    found_text, found_faces = text.find(image), faces.find(image)
    covered = image.copy()
    for box in found_text:
        _cover(covered, box, TEXT_MARGIN)
    for box in found_faces:
        _cover(covered, box, FACE_MARGIN)
    return Redacted(covered, len(found_text), len(found_faces))


def _cover(image: Image, box: Box, margin: float) -> None:
    height, width = image.shape[:2]
    area = box.grown(margin, width, height)
    image[area.top : area.bottom, area.left : area.right] = COVER
