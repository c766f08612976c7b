"""The images that may leave: redacted twins, made once per image and kept in storage."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

from collections_app.models import Collection
from core import object_store
from pipeline.choices import ObjectKind
from pipeline.images.redaction import UnreadableImageError, decode, encode, redact
from pipeline.images.regions import Image, face_finder, text_finder
from pipeline.storage import catalogue, layout

_COMMENT = re.compile(rb"text=(\d+) faces=(\d+)")


class PublishedImages:
    """Hands out a collection's images as they may be published, and counts what was covered, never what it said."""

    def __init__(self, collection: Collection, *, redact: bool) -> None:
        self._collection = collection
        self._redact = redact
        self._counts: Counter[str] = Counter()

    def fetch(self, key: str) -> Image | None:
        """``uint8 [height, width, 3]`` RGB, or None where the object is gone or no image."""
        try:
            source = object_store.get(key)
            image = self._twin(source) if self._redact else decode(source)
        except (FileNotFoundError, UnreadableImageError):
            self._counts["unreadable"] += 1
            return None
        self._counts["images"] += 1
        return image

    def report(self) -> dict[str, object]:
        return {"redacted": self._redact, "engine": text_finder().name if self._redact else None, **self._counts}

    def _twin(self, source: bytes) -> Image:
        engine = text_finder().name
        digest = hashlib.sha256(source).hexdigest()
        key = layout.redacted_key(self._collection.slug, digest, engine)
        try:
            data = object_store.get(key)
        except FileNotFoundError:
            made = redact(decode(source), text=text_finder(), faces=face_finder())
            data = encode(made.image, comment=f"text={made.text_regions} faces={made.faces}".encode())
            catalogue.store(key, data, kind=ObjectKind.PROCESSED, collection=self._collection)
        found = _COMMENT.search(data[:400])
        if found:
            self._counts["text_regions"] += int(found[1])
            self._counts["faces"] += int(found[2])
        return decode(data)
