"""Anonymise: no text that leaves this stage names anybody; people are pseudonyms.

Distinct texts are examined once: the steps of an episode repeat theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from core.personal_data import Anonymised, Finding, anonymise
from pipeline.choices import Stage as StageName
from pipeline.pseudonyms import Pseudonyms
from pipeline.stages.base import StageOutput

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
            values = [texts.clean(value) for value in table.column(column).to_pylist()]
            table = _replace(table, column, pa.array(values, pa.string()))
        for column in TEXT_LIST_COLUMNS:
            lists = [[texts.clean(value) for value in entry] for entry in table.column(column).to_pylist()]
            table = _replace(table, column, pa.array(lists, pa.list_(pa.string())))
        for column in JSON_COLUMNS:
            values = [texts.clean_json(value) for value in table.column(column).to_pylist()]
            table = _replace(table, column, pa.array(values, pa.string()))
        people = [self.pseudonyms.name(who) if who else None for who in table.column("corrected_by").to_pylist()]
        table = _replace(table, "corrected_by", pa.array(people, pa.string()))
        return StageOutput(table, counts=dict(texts.kinds))


@dataclass(slots=True)
class _Texts:
    detect: Callable[[str], Sequence[Finding]]
    kinds: Counter[str] = field(default_factory=Counter)
    _known: dict[str, Anonymised] = field(default_factory=dict)

    def clean(self, text: str | None) -> str | None:
        if not text:
            return text
        if text not in self._known:
            self._known[text] = anonymise(text, detect=self.detect)
        found = self._known[text]
        self.kinds.update(found.kinds)
        return found.text

    def clean_json(self, text: str) -> str:
        """JSON whose keys and text values are clean."""
        if text in ("[]", "{}"):
            return text
        return orjson.dumps(self._clean_value(orjson.loads(text))).decode()

    def _clean_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self._clean_value(entry) for entry in value]
        if isinstance(value, dict):
            return {self.clean(key): self._clean_value(entry) for key, entry in value.items()}
        return value


def _replace(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(column), column, values)
