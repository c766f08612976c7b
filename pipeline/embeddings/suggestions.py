"""Suggestions while a person types: what was said in collections that the person may read."""

from __future__ import annotations

import re
from collections import Counter

from django.contrib.postgres.search import SearchQuery

from accounts.principals import Principal
from pipeline.choices import EmbeddingSource
from pipeline.embeddings.served import served
from pipeline.models import Embedding

# How many rows are looked at: frequent texts are among them, and a word that a million rows have costs no more.
LOOKED_AT = 500
SHORTEST = 2


def suggestions(*, principal: Principal, typed: str, collection: str | None = None, limit: int = 8) -> list[str]:
    """Instructions with words that begin like those ``typed``; the most frequent first."""
    words = re.findall(r"\w+", typed)[:8]
    if sum(map(len, words)) < SHORTEST:
        return []
    query = SearchQuery(" & ".join(f"{word}:*" for word in words), config="english", search_type="raw")
    rows = served(Embedding.objects.restrict(principal))
    if collection:
        rows = rows.filter(collection__slug=collection)
    found = rows.filter(source_kind=EmbeddingSource.RESULT, search_vector=query).order_by()
    counted = Counter(found.values_list("text", flat=True)[:LOOKED_AT])
    return sorted(counted, key=lambda text: (-counted[text], text))[:limit]
