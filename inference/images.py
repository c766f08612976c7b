"""Images from robots: refused by their header, decoded once, fitted to what a policy wants. Imports no Django."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import numpy as np
import simplejpeg
from PIL import Image

from inference.exceptions import ImageRefusedError, ImageTooLargeError
from inference.policies.base import ImageArray

_JPEG = b"\xff\xd8\xff"
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def inspect(data: bytes, *, max_side: int) -> str:
    """The format of an image file, ``jpeg`` or ``png``, read from its header alone.

    Raises ``ImageRefusedError`` when it is neither, ``ImageTooLargeError`` when a side exceeds ``max_side``: a
    decompression bomb is known by its header and never unpacked.
    """
    if data.startswith(_JPEG):
        kind, size = "jpeg", _jpeg_size(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR" and len(data) >= 24:
        kind, size = "png", struct.unpack(">II", data[16:24])
    else:
        raise ImageRefusedError("This is not a JPEG or PNG image.")
    if size is None or not all(size):
        raise ImageRefusedError("The image's header is damaged.")
    if max(size) > max_side:
        raise ImageTooLargeError(f"The image is {size[0]}×{size[1]} pixels; {max_side}×{max_side} is the most.")
    return kind


def decode(data: bytes) -> ImageArray:
    """The pixels of a JPEG or PNG file as ``uint8 [height, width, 3]`` RGB. Raises ``ImageRefusedError``.

    A plain JPEG file is unpacked straight into the array, in well under half of Pillow's time; what libjpeg-turbo finds
    anything to say about (four colour channels, damage) is left to Pillow's judgement.
    """
    if data.startswith(_JPEG):
        with suppress(ValueError):
            return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            image.load()  # verify() alone passes truncated files
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise ImageRefusedError("The image is truncated or damaged.") from None


def fit(pixels: ImageArray, size: tuple[int, int]) -> ImageArray:
    """``pixels`` scaled to ``(height, width)`` with its proportions kept and black padding, centred."""
    height, width = size
    if pixels.shape[:2] == size:
        return pixels
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    scaled = (max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)))
    resized = np.asarray(Image.fromarray(pixels).resize((scaled[1], scaled[0]), Image.Resampling.BILINEAR))
    fitted = np.zeros((height, width, 3), np.uint8)
    top, left = (height - scaled[0]) // 2, (width - scaled[1]) // 2
    fitted[top : top + scaled[0], left : left + scaled[1]] = resized
    return fitted


def encode_jpeg(pixels: ImageArray, *, quality: int = 92) -> bytes:
    """Raw pixels as a JPEG file, for storage."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from the first start-of-frame segment (ITU T.81, B.2.2)."""
    position = 2
    end = len(data)
    while position + 9 < end:
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
