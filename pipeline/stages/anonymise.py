"""Anonymise: no text that leaves this stage names anybody; people are pseudonyms.

Distinct texts are examined once: the steps of an episode repeat theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from core.personal_data import Finding, anonymise, placeholders
from pipeline.choices import Stage as StageName
from pipeline.pseudonyms import Pseudonyms
from pipeline.stages.base import StageOutput, lengths_to_offsets, one_array

TEXT_COLUMNS = ("robot", "episode", "instruction")
TEXT_LIST_COLUMNS = ("tags", "comments")
# What a violation says (``inference.safety``). A key of another name may be a person's, and no recogniser would know.
VIOLATION_FIELDS = frozenset({"step", "dimension", "rule", "value", "limit", "sent"})
UNKNOWN_FIELD = "UNKNOWN_FIELD"


@dataclass(frozen=True, slots=True)
class Anonymise:
    """Replaces personal data in every text by its kind, and the identifiers of people by pseudonyms.

    Counts the replacements by kind over records, never the values; those count, too, that were made when the text was
    written, or when its raw data was purged.
    """

    pseudonyms: Pseudonyms
    detect: Callable[[str], Sequence[Finding]]
    name = StageName.ANONYMISE

    def __call__(self, table: pa.Table) -> StageOutput:
        texts = Texts(self.detect)
        for column in TEXT_COLUMNS:
            table = _replace(table, column, _each_once(table.column(column), texts.clean))
        for column in TEXT_LIST_COLUMNS:
            lists = one_array(table.column(column))
            cleaned = _each_once(pc.list_flatten(lists), texts.clean)
            offsets = pa.array(lengths_to_offsets(lists), pa.int32())
            table = _replace(table, column, pa.ListArray.from_arrays(offsets, cleaned))
        table = _replace(table, "violations", _each_once(table.column("violations"), texts.clean_violations))
        people = [self.pseudonyms.name(who) if who else None for who in table.column("corrected_by").to_pylist()]
        table = _replace(table, "corrected_by", pa.array(people, pa.string()))
        return StageOutput(table, counts=dict(texts.kinds))


@dataclass(slots=True)
class Texts:
    """Texts as they may leave, each examined once, and what was replaced in them."""

    detect: Callable[[str], Sequence[Finding]]
    kinds: Counter[str] = field(default_factory=Counter)
    _known: dict[str, str] = field(default_factory=dict)

    def clean(self, text: str, times: int = 1) -> str:
        """``text`` as it may leave; its replacements count ``times``."""
        if text not in self._known:
            self._known[text] = anonymise(text, detect=self.detect).text
        found = self._known[text]
        for kind, count in placeholders(found).items():
            self.kinds[kind] += count * times
        return found

    def clean_violations(self, text: str, times: int = 1) -> str:
        """The JSON of a record's violations: clean, and without fields that violations do not have."""
        if text in ("[]", "{}"):
            return text
        return orjson.dumps(self.clean_value(orjson.loads(text), times, fields=VIOLATION_FIELDS)).decode()

    def clean_value(self, value: Any, times: int = 1, *, fields: Set[str] | None = None) -> Any:
        """A JSON value whose keys and texts are clean; keys beside ``fields`` become ``<UNKNOWN_FIELD>`` of null."""
        if isinstance(value, str):
            return self.clean(value, times)
        if isinstance(value, list):
            return [self.clean_value(entry, times, fields=fields) for entry in value]
        if not isinstance(value, dict):
            return value
        known = {key: entry for key, entry in value.items() if fields is None or key in fields}
        clean = {self.clean(key, times): self.clean_value(entry, times, fields=fields) for key, entry in known.items()}
        if len(known) < len(value):
            self.kinds[UNKNOWN_FIELD] += times
            clean[f"<{UNKNOWN_FIELD}>"] = None
        return clean


def _each_once(column: pa.ChunkedArray | pa.Array, clean: Callable[[str, int], str]) -> pa.Array:
    """A text column with ``clean`` applied to each distinct text, which is told how often it stands there."""
    encoded = one_array(column).dictionary_encode()
    codes = encoded.indices.drop_null().to_numpy()
    times = np.bincount(codes, minlength=len(encoded.dictionary)).tolist()
    cleaned = [clean(text, count) for text, count in zip(encoded.dictionary.to_pylist(), times, strict=True)]
    return pa.array(cleaned, pa.string()).take(encoded.indices)


def _replace(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)
