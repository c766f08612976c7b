"""Which policy versions and which annotators the records of a table come from, and how many from each."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def policy_versions(table: pa.Table) -> dict[str, int]:
    """``{"name@version": records}`` by the columns ``policy_name`` and ``policy_version``."""
    return _counted(pc.binary_join_element_wise(table.column("policy_name"), table.column("policy_version"), "@"))


def annotators(table: pa.Table) -> dict[str, int]:
    """``{pseudonym: records that it corrected}`` by the column ``corrected_by``."""
    given = table.column("corrected_by").drop_null()
    return _counted(given.filter(pc.not_equal(given, "")))


def _counted(texts: pa.ChunkedArray) -> dict[str, int]:
    counts = texts.value_counts()
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
