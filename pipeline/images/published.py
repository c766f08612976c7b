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
from pipeline.models import StoredObject
from pipeline.storage import catalogue, layout, raw

_COMMENT = re.compile(rb"text=(\d+) faces=(\d+)")


class PublishedImages:
    """Hands out a collection's images as they may be published, and counts what was covered, never what it said."""

    def __init__(self, collection: Collection, *, redact: bool) -> None:
        self._collection = collection
        self._redact = redact
        self._counts: Counter[str] = Counter()

    def fetch(self, key: str) -> Image | None:
        """``uint8 [height, width, 3]`` RGB, or None where the object is gone or no image.

        ``key`` names a raw image or, of a record whose raw data was purged, a twin.
        """
        try:
            current, source = raw.located(key)
            image = self._twin(current, source) if self._redact else decode(source)
        except (FileNotFoundError, UnreadableImageError):
            self._counts["unreadable"] += 1
            return None
        self._counts["images"] += 1
        return image

    def report(self) -> dict[str, object]:
        return {"redacted": self._redact, "engine": text_finder().name if self._redact else None, **self._counts}

    def _twin(self, key: str, source: bytes) -> Image:
        if layout.is_redacted(key):
            data = source
        else:
            try:
                data = object_store.get(twin_key(self._collection, source))
            except FileNotFoundError:
                data, _entry = _make_twin(self._collection, source)
        found = _COMMENT.search(data[:400])
        if found:
            self._counts["text_regions"] += int(found[1])
            self._counts["faces"] += int(found[2])
        return decode(data)


def twin_key(collection: Collection, source: bytes) -> str:
    """Where the twin of the image ``source`` lies, or would lie."""
    return layout.redacted_key(collection.slug, hashlib.sha256(source).hexdigest(), text_finder().name)


def verified_twin(collection: Collection, source: bytes) -> StoredObject:
    """The twin of the image ``source``, made where there is none, and read back against its row in the catalogue.

    Raises ``UnreadableImageError``, and ``catalogue.CorruptObjectError`` where the twin is not what was written.
    """
    entry = StoredObject.objects.filter(key=twin_key(collection, source)).first()
    if entry is not None:
        try:
            catalogue.verify(entry)
        except FileNotFoundError:
            entry = None
    if entry is None:
        _data, entry = _make_twin(collection, source)
        catalogue.verify(entry)
    return entry


def _make_twin(collection: Collection, source: bytes) -> tuple[bytes, StoredObject]:
    made = redact(decode(source), text=text_finder(), faces=face_finder())
    data = encode(made.image, comment=f"text={made.text_regions} faces={made.faces}".encode())
    key = twin_key(collection, source)
    return data, catalogue.store(key, data, kind=ObjectKind.PROCESSED, collection=collection)
