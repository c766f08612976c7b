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
from typing import TypeAlias

from django.contrib.postgres.search import SearchQuery
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

from pipeline.models import Embedding

# How many of each ranking are fused, unless more hits are asked for: a filter that keeps one row in a hundred makes the
# scan of a vector index a hundred times as long as this.
CANDIDATES = 50
# So many rows are scored at most: a word that a million rows have costs no more than one that few have.
LOOKED_AT = 5000
# PostgreSQL lists a word that some ten of the 30,000 rows of its sample have.
SHARE_OF_UNKNOWN = 0.0004
# ``(id, weight, length, occurred_at)`` of a row.
Scored: TypeAlias = tuple[uuid.UUID, float, int, datetime]
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
    def quoted(self) -> str:
        """As PostgreSQL reads it: this very stem, whatever signs it has."""
        escaped = self.stem.replace("\\", "\\\\").replace("'", "''")
        return f"'{escaped}'"

    @property
    def query(self) -> SearchQuery:
        return SearchQuery(self.quoted, config="simple", search_type="raw")

    @property
    def weight(self) -> float:
        """Inverse document frequency (Spärck Jones, 1972)."""
        return math.log(1.0 + 1.0 / self.share)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a question that are no stop words. Rare ones are looked for; frequent ones only count, in what was
    found by a rare one or by another ranking.
    """

    rare: tuple[_Word, ...]
    frequent: tuple[_Word, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """Rare are the rarest words, as long as no more than ``LOOKED_AT`` rows have one of them, by estimate."""
        words, total = _words(text)
        words.sort(key=lambda word: word.share)
        rare: list[_Word] = []
        for word in words:
            if total * (sum(other.share for other in rare) + word.share) > LOOKED_AT:
                break
            rare.append(word)
        return cls(tuple(rare), tuple(words[len(rare) :]))

    def look_for(self, rows: QuerySet[Embedding], count: int) -> list[Scored]:
        """The best ``count`` of ``rows`` with one of the rare words: what needs no other ranking."""
        if not self.rare:
            return []
        return self._best(rows.filter(search_vector=reduce(or_, (word.query for word in self.rare))), count)

    def rank(
        self, rows: QuerySet[Embedding], looked_for: list[Scored], found: Collection[uuid.UUID] | None, count: int
    ) -> dict[uuid.UUID, float]:
        """The ids of the ``count`` rows that have most of the words, best first, and how much each has: the share of
        the words' weight, 0..1. Where no other ranking ``found`` any, those with all frequent words are looked for.
        """
        scored = {row[0]: row for row in looked_for}
        if self.frequent:
            all_of_them = reduce(and_, (word.query for word in self.frequent))
            wanted = rows.filter(pk__in=found) if found else rows.filter(search_vector=all_of_them)
            scored.update((row[0], row) for row in self._best(wanted, count))
        ranked = sorted(scored.values(), key=lambda row: (-row[1], row[2], -row[3].timestamp(), row[0]))
        whole = sum(word.weight for word in (*self.rare, *self.frequent))
        return {row[0]: row[1] / whole for row in ranked[:count]}

    def _best(self, rows: QuerySet[Embedding], count: int) -> list[Scored]:
        """The best ``count`` among the first ``LOOKED_AT`` of ``rows``."""
        words = (*self.rare, *self.frequent)
        weight = " + ".join(["CASE WHEN said @@ %s::tsquery THEN %s::float8 ELSE 0 END"] * len(words))
        weights = [value for word in words for value in (word.quoted, word.weight)]
        looked_at = rows.order_by().values_list("pk", "search_vector", "occurred_at")[:LOOKED_AT]
        try:
            inner, parameters = looked_at.query.sql_with_params()
        except EmptyResultSet:
            return []
        with connection.cursor() as cursor:
            # The ORM would join the table to such a subquery once more; the scored rows are all there is to order. Of
            # two texts with the same words, the shorter says less that was not asked for.
            cursor.execute(
                "SELECT id, weight, length, occurred_at FROM ("  # nosec B608: the ORM's own statement
                f"SELECT id, {weight} AS weight, length(said) AS length, occurred_at "
                f"FROM ({inner}) AS looked_at (id, said, occurred_at)) AS scored "
                "WHERE weight > 0 ORDER BY weight DESC, length, occurred_at DESC, id LIMIT %s",
                [*weights, *parameters, count],
            )
            return list(cursor.fetchall())


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
