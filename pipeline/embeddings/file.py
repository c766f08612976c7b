"""A collection's vectors as one Parquet file, for whoever wants to work with them elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from collections_app.models import Collection
from core.personal_data.presidio import detect
from pipeline.choices import ObjectKind
from pipeline.embeddings.models import EMBEDDING_DIMENSIONS
from pipeline.embeddings.served import served
from pipeline.models import Embedding, StoredObject, VectorSet
from pipeline.stages.anonymise import Texts
from pipeline.storage import catalogue, layout

BATCH = 5_000
SCHEMA = pa.schema(
    [
        ("source_id", pa.string()),
        ("source_kind", pa.string()),
        ("inference_result_id", pa.string()),
        ("occurred_at", pa.timestamp("us", tz="UTC")),
        ("text", pa.string()),
        ("embedding", pa.list_(pa.float32(), EMBEDDING_DIMENSIONS)),
    ]
)


def write(collection: Collection) -> StoredObject:
    """Write ``embeddings/collection_<slug>_embeddings.parquet`` anew, in constant memory."""
    serving = VectorSet.objects.serving().filter(collection=collection).first()
    model = {"model": serving.model_name, "revision": serving.model_revision} if serving else {}
    schema = SCHEMA.with_metadata(model)
    with tempfile.TemporaryDirectory(prefix="embeddings.") as temporary:
        path = Path(temporary, "embeddings.parquet")
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in _batches(collection):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
        key = layout.embeddings_key(collection.slug)
        entry = catalogue.store_file(key, path, kind=ObjectKind.EMBEDDINGS, collection=collection)
    catalogue.verify(entry)
    return entry


def _batches(collection: Collection) -> Iterator[list[dict[str, Any]]]:
    texts = Texts(detect)  # finds more than what an embedding's text was cleaned by (``core.personal_data``)
    rows = served(Embedding.objects.filter(collection=collection))
    ordered = iter(rows.order_by("occurred_at", "source_id").values(*SCHEMA.names).iterator(chunk_size=BATCH))
    while batch := list(islice(ordered, BATCH)):
        yield [
            {
                **row,
                "source_id": str(row["source_id"]),
                "inference_result_id": str(row["inference_result_id"]),
                "text": texts.clean(row["text"]),
                "embedding": list(row["embedding"]),
            }
            for row in batch
        ]
