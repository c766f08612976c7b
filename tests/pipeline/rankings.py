"""One of the two rankings of a search by itself."""

from __future__ import annotations

import uuid
from collections.abc import Collection

from django.db.models import QuerySet

from pipeline.embeddings.words import CANDIDATES, Words
from pipeline.models import Embedding


def by_words(
    rows: QuerySet[Embedding], text: str, found: Collection[uuid.UUID] | None = None
) -> dict[uuid.UUID, float]:
    """``rows`` by the words of ``text`` that they have, best first, and each one's share, 0..1."""
    words = Words.of(text)
    return words.rank(rows, words.look_for(rows, CANDIDATES), found, CANDIDATES)
