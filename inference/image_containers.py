"""Images as they are stored: the pixels exactly as they came, and nothing besides.

A JPEG or PNG file has room for other things: where and when it was taken (EXIF, with the place), comments, and after
its end a web page or an archive, so that one file is two. What decodes to the picture is kept byte for byte; the rest
is left out. Imports no Django.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

from PIL import Image

from inference.images import decode

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"IDAT", b"IEND"})
# Tables, frames, scans and restart intervals (ITU T.81, table B.1).
_JPEG_SEGMENTS = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD})
_START_OF_SCAN, _END = 0xDA, 0xD9
# Within a scan 0xFF is followed by 0x00 or a restart marker; anything else ends it.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class _MalformedError(ValueError):
    """Not laid out as the standard says, whatever a decoder made of it."""


def only_the_picture(data: bytes, kind: str) -> bytes:
    """The file ``data`` (``jpeg`` or ``png``) without metadata and without anything after its end.

    Where its layout is not that of the standard, it is decoded and written anew. Raises ``ImageRefusedError`` where
    that is not possible either.
    """
    try:
        return b"".join(_jpeg(data) if kind == "jpeg" else _png(data))
    except (_MalformedError, IndexError, struct.error):
        buffer = io.BytesIO()
        Image.fromarray(decode(data)).save(buffer, "JPEG" if kind == "jpeg" else "PNG", quality=95)
        return buffer.getvalue()


def _jpeg(data: bytes) -> Iterator[bytes]:
    yield data[:2]
    position = 2
    while True:
        if data[position] != 0xFF:
            raise _MalformedError
        while data[position + 1] == 0xFF:  # filling
            position += 1
        marker = data[position + 1]
        if marker == _END:
            yield b"\xff\xd9"
            return
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if marker == _START_OF_SCAN:
            following = _AFTER_SCAN.search(data, end)
            if following is None:
                raise _MalformedError
            end = following.start()
        if marker in _JPEG_SEGMENTS or _says_how_to_decode(marker, data[position + 4 : end]):
            yield data[position:end]
        position = end


def _says_how_to_decode(marker: int, content: bytes) -> bool:
    """JFIF's and Adobe's segments, without a thumbnail or whatever else may hang on to them."""
    return (marker == 0xE0 and content[:5] == b"JFIF\x00" and len(content) == 14) or (
        marker == 0xEE and content[:5] == b"Adobe" and len(content) == 12
    )


def _png(data: bytes) -> Iterator[bytes]:
    yield _PNG
    position = len(_PNG)
    while True:
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            raise _MalformedError
        if kind in _PNG_CHUNKS:
            yield data[position:end]
        if kind == b"IEND":
            return
        position = end
