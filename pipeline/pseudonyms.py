"""Pseudonyms: the same person is the same name within a collection, a different one in every other."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names people of one collection. The key is derived from ``SECRET_KEY``, so that the data alone reveals nobody."""

    key: bytes

    @classmethod
    def of(cls, collection_id: uuid.UUID) -> Pseudonyms:
        return cls(hmac.digest(settings.SECRET_KEY.encode(), b"pseudonyms:" + collection_id.bytes, "sha256"))

    def name(self, identifier: object) -> str:
        """HMAC-SHA256 of ``identifier``, its first 64 bits in hexadecimal."""
        return "person-" + hmac.new(self.key, str(identifier).encode(), hashlib.sha256).hexdigest()[:16]
