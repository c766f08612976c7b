"""Full text of any of the words: the more of them a text has, and the rarer they are, the better it ranks.

What stands in quotes must be said, what has a minus before it must not; the other words are all welcome and none is
demanded, so that "grab the scarlet cube" finds "pick up the red cube" by its cube.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_, or_

from django.contrib.postgres.search import SearchQuery
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Case, F, FloatField, Func, IntegerField, QuerySet, Value, When
from django.db.models.expressions import Combinable

from pipeline.models import Embedding

# How many of each ranking are fused, unless more hits are asked for: a filter that keeps one row in a hundred makes the
# scan of a vector index a hundred times as long as this.
CANDIDATES = 50
# So many rows are scored at most: a word that a million rows have costs no more than one that few have.
LOOKED_AT = 5000
# PostgreSQL lists a word that some ten of the 30,000 rows of its sample have.
SHARE_OF_UNKNOWN = 0.0004
_PART = re.compile(r'(-?)"([^"]*)"?|(\S+)')


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked, taken apart."""

    plain: str
    phrases: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Query:
        """From what a person types: ``lift "red cube" -spill``."""
        plain, phrases, excluded = [], [], []
        for minus, quoted, word in _PART.findall(text):
            if minus and quoted.strip():
                excluded.append(quoted.strip())
            elif quoted.strip():
                phrases.append(quoted.strip())
            elif word.startswith("-") and re.match(r"-\w", word):
                excluded.append(word[1:])
            elif word:
                plain.append(word)
        return cls(" ".join(plain), tuple(phrases), tuple(excluded))

    @property
    def meant(self) -> str:
        """The words without the signs, for an encoder."""
        return " ".join(part for part in (self.plain, *self.phrases) if part)

    def apply(self, rows: QuerySet[Embedding]) -> QuerySet[Embedding]:
        """``rows`` with every phrase and nothing excluded; for every ranking, not for that of the words alone."""
        for phrase in self.phrases:
            rows = rows.filter(search_vector=SearchQuery(phrase, config="english", search_type="phrase"))
        for words in self.excluded:
            rows = rows.exclude(search_vector=SearchQuery(words, config="english", search_type="phrase"))
        return rows


@dataclass(frozen=True, slots=True)
class _Word:
    """A word's stem, and the share of all texts that have it, 0..1, as PostgreSQL's statistics tell."""

    stem: str
    share: float

    @property
    def query(self) -> SearchQuery:
        quoted = self.stem.replace("\\", "\\\\").replace("'", "''")
        return SearchQuery(f"'{quoted}'", config="simple", search_type="raw")

    @property
    def weight(self) -> float:
        """Inverse document frequency (Spärck Jones, 1972)."""
        return math.log(1.0 + 1.0 / self.share)


def with_words(
    rows: QuerySet[Embedding], text: str, found: Collection[uuid.UUID] | None = None, *, count: int = CANDIDATES
) -> dict[uuid.UUID, float]:
    """The ids of the ``count`` rows that have most of the words of ``text``, best first, and how much each has:
    the share of the words' weight, 0..1.

    Looked for are rows with one of the rare words, ``LOOKED_AT`` of them at most. Frequent words only count: in those
    rows, and in the ones that another ranking has ``found``. Without such a ranking, rows with all of the frequent
    words are looked for too.
    """
    words, total = _words(text)
    words.sort(key=lambda word: word.share)
    rare: list[_Word] = []
    for word in words:
        if total * (sum(other.share for other in rare) + word.share) > LOOKED_AT:
            break
        rare.append(word)
    frequent = words[len(rare) :]
    wanted = [rows.filter(search_vector=reduce(or_, (word.query for word in rare)))] if rare else []
    if frequent and not found:
        wanted.append(rows.filter(search_vector=reduce(and_, (word.query for word in frequent))))
    elif frequent and found:
        wanted.append(rows.filter(pk__in=found))
    scored = {row[0]: row for part in wanted for row in _best(part, words, count)}
    ranked = sorted(scored.values(), key=lambda row: (-row[1], row[2], -row[3].timestamp(), row[0]))
    whole = sum(word.weight for word in words)
    return {row[0]: row[1] / whole for row in ranked[:count]}


def _words(text: str) -> tuple[list[_Word], float]:
    """The words of ``text`` that are no stop words, and how many rows the table has, both as of the last ANALYZE."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH known AS (SELECT stem, share FROM pg_stats, "
            "unnest(most_common_elems::text::text[], most_common_elem_freqs) AS common (stem, share) "
            "WHERE schemaname = current_schema() AND tablename = %s AND attname = 'search_vector') "
            # A word that is not among the common ones is rarer than the rarest of them, and than what ANALYZE tells
            # from chance. Before the first ANALYZE nothing is known of any.
            "SELECT lexeme, coalesce(known.share, least((SELECT min(share) FROM known) / 2, %s), 1), "
            "(SELECT reltuples FROM pg_class WHERE oid = %s::regclass) "
            "FROM unnest(to_tsvector('english', %s)) AS said LEFT JOIN known ON known.stem = said.lexeme",
            [Embedding._meta.db_table, SHARE_OF_UNKNOWN, Embedding._meta.db_table, text],
        )
        found = cursor.fetchall()
    return [_Word(stem, max(share, 1e-9)) for stem, share, _rows in found], max((row[2] for row in found), default=0.0)


def _best(rows: QuerySet[Embedding], words: list[_Word], count: int) -> list[tuple[uuid.UUID, float, int, datetime]]:
    """``(id, weight, length, occurred_at)`` of the best ``count`` among the first ``LOOKED_AT`` of ``rows``."""
    weight: Combinable = Value(0.0, output_field=FloatField())
    for word in words:
        weight = weight + Case(
            When(search_vector=word.query, then=Value(word.weight)), default=Value(0.0), output_field=FloatField()
        )
    # Of two texts with the same words, the shorter says less that was not asked for.
    length = Func(F("search_vector"), function="length", output_field=IntegerField())
    looked_at = rows.annotate(weight=weight, length=length).order_by().values("pk", "weight", "length", "occurred_at")
    try:
        inner, parameters = looked_at[:LOOKED_AT].query.sql_with_params()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        # The ORM would join the table to such a subquery once more; the scored rows are all there is to order.
        cursor.execute(
            "SELECT id, weight::float8, length, occurred_at "  # nosec B608: the ORM's own statement
            f"FROM ({inner}) AS looked_at (id, weight, length, occurred_at) "
            "WHERE weight > 0 ORDER BY weight DESC, length, occurred_at DESC, id LIMIT %s",
            [*parameters, count],
        )
        return list(cursor.fetchall())
