"""Anonymise: no text that leaves this stage names anybody; people are pseudonyms.

Distinct texts are examined once: the steps of an episode repeat theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from core.personal_data import Anonymised, Finding, anonymise
from pipeline.choices import Stage as StageName
from pipeline.pseudonyms import Pseudonyms
from pipeline.stages.base import StageOutput, lengths_to_offsets, one_array

TEXT_COLUMNS = ("robot", "episode", "instruction")
TEXT_LIST_COLUMNS = ("tags", "comments")
JSON_COLUMNS = ("violations",)


@dataclass(frozen=True, slots=True)
class Anonymise:
    """Replaces personal data in every text by its kind, and the identifiers of people by pseudonyms.

    Counts the replacements by kind over records, never the values.
    """

    pseudonyms: Pseudonyms
    detect: Callable[[str], Sequence[Finding]]
    name = StageName.ANONYMISE

    def __call__(self, table: pa.Table) -> StageOutput:
        texts = _Texts(self.detect)
        for column in TEXT_COLUMNS:
            table = _replace(table, column, _each_once(table.column(column), texts.clean))
        for column in TEXT_LIST_COLUMNS:
            lists = one_array(table.column(column))
            cleaned = _each_once(pc.list_flatten(lists), texts.clean)
            offsets = pa.array(lengths_to_offsets(lists), pa.int32())
            table = _replace(table, column, pa.ListArray.from_arrays(offsets, cleaned))
        for column in JSON_COLUMNS:
            table = _replace(table, column, _each_once(table.column(column), texts.clean_json))
        people = [self.pseudonyms.name(who) if who else None for who in table.column("corrected_by").to_pylist()]
        table = _replace(table, "corrected_by", pa.array(people, pa.string()))
        return StageOutput(table, counts=dict(texts.kinds))


@dataclass(slots=True)
class _Texts:
    detect: Callable[[str], Sequence[Finding]]
    kinds: Counter[str] = field(default_factory=Counter)
    _known: dict[str, Anonymised] = field(default_factory=dict)

    def clean(self, text: str, times: int = 1) -> str:
        """``text`` as it may leave; its findings count ``times``."""
        if text not in self._known:
            self._known[text] = anonymise(text, detect=self.detect)
        found = self._known[text]
        for kind, count in found.kinds.items():
            self.kinds[kind] += count * times
        return found.text

    def clean_json(self, text: str, times: int = 1) -> str:
        """JSON whose keys and text values are clean."""
        if text in ("[]", "{}"):
            return text
        return orjson.dumps(self._clean_value(orjson.loads(text), times)).decode()

    def _clean_value(self, value: Any, times: int) -> Any:
        if isinstance(value, str):
            return self.clean(value, times)
        if isinstance(value, list):
            return [self._clean_value(entry, times) for entry in value]
        if isinstance(value, dict):
            return {self.clean(key, times): self._clean_value(entry, times) for key, entry in value.items()}
        return value


def _each_once(column: pa.ChunkedArray | pa.Array, clean: Callable[[str, int], str]) -> pa.Array:
    """A text column with ``clean`` applied to each distinct text, which is told how often it stands there."""
    encoded = one_array(column).dictionary_encode()
    codes = encoded.indices.drop_null().to_numpy()
    times = np.bincount(codes, minlength=len(encoded.dictionary)).tolist()
    cleaned = [clean(text, count) for text, count in zip(encoded.dictionary.to_pylist(), times, strict=True)]
    return pa.array(cleaned, pa.string()).take(encoded.indices)


def _replace(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)
