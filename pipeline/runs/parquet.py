"""The Parquet of a shard: one schema, one order of columns, the same bytes for the same records."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from core import object_store
from pipeline.stages.base import one_array

_LIST = pa.list_(pa.float64())
_CHUNK = pa.list_(_LIST)

PROCESSED_SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("result_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("robot", pa.string()),
        ("episode_id", pa.string()),
        ("episode", pa.string()),
        ("outcome", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("step", pa.int64()),
        ("instruction", pa.string()),
        ("state", _LIST),
        ("actions", _CHUNK),
        ("proposed_actions", _CHUNK),
        ("corrected_actions", _CHUNK),
        ("corrected_by", pa.string()),
        ("corrected_at", pa.timestamp("us", tz="UTC")),
        ("correction_seconds", pa.float64()),
        ("intervention", pa.bool_()),
        ("rating", pa.float64()),
        ("comments", pa.list_(pa.string())),
        ("verdict", pa.string()),
        ("safety_score", pa.float64()),
        ("violations", pa.string()),
        ("confidence", pa.float64()),
        ("policy_name", pa.string()),
        ("policy_version", pa.string()),
        ("queue_ms", pa.float64()),
        ("inference_ms", pa.float64()),
        ("total_ms", pa.float64()),
        ("batch_size", pa.int64()),
        ("images", pa.map_(pa.string(), pa.string())),
        ("quality", pa.list_(pa.string())),
        ("anomaly_score", pa.float64()),
        ("anomalous", pa.bool_()),
        ("anomaly_reasons", pa.list_(pa.string())),
        ("episode_length", pa.float64()),
        ("episode_seconds", pa.float64()),
        ("path_length", pa.float64()),
        ("smoothness", pa.float64()),
        ("idle_share", pa.float64()),
        ("interventions", pa.float64()),
        ("success", pa.bool_()),
        ("hour_of_day", pa.int64()),
        ("queue_share", pa.float64()),
        ("queue_load", pa.int64()),
    ]
)


def in_schema(table: pa.Table) -> pa.Table:
    """A table that has been through every stage, as it is published."""
    table = table.rename_columns({"id": "result_id"})
    return with_named_images(table.select(PROCESSED_SCHEMA.names).cast(PROCESSED_SCHEMA))


def with_named_images(table: pa.Table) -> pa.Table:
    """``images`` as they leave: ``<request id>/<camera>`` names a picture, wherever it lies, raw or redacted."""
    place = table.schema.get_field_index("images")
    images = one_array(table.column(place))
    if not len(images.keys):
        return table
    rows = zip(table.column("request_id").to_pylist(), images.to_pylist(), strict=True)
    named = [[(camera, f"{request}/{camera}") for camera, _key in pairs] for request, pairs in rows]
    return table.set_column(place, table.schema.field(place), pa.array(named, images.type))


def encode(table: pa.Table) -> bytes:
    """A table of ``PROCESSED_SCHEMA`` as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=3,
        row_group_size=5_000,
        use_dictionary=_in_dictionaries(),
    )
    return sink.getvalue()


@cache
def _in_dictionaries() -> list[str]:
    """The columns whose values repeat: numbers of sensors and policies do not, and a dictionary of them is a loss."""
    sink = io.BytesIO()
    pq.write_table(PROCESSED_SCHEMA.empty_table(), sink)
    columns = pq.ParquetFile(sink).schema
    return [column.path for column in map(columns.column, range(len(columns))) if column.physical_type != "DOUBLE"]


def row_count(key: str) -> int:
    """How many records a stored file says it holds; reads its footer only."""
    with object_store.open(key) as source:
        return int(pq.ParquetFile(source).metadata.num_rows)


def read(key: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The records of a stored file: a shard's, so that they fit in memory."""
    with object_store.open(key) as source:
        return pq.ParquetFile(source).read(columns=columns)
