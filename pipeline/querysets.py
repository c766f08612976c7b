from __future__ import annotations

from collections_app.querysets import CollectionScopedQuerySet


class PipelineRunQuerySet(CollectionScopedQuerySet):
    pass


class QuarantinedRecordQuerySet(CollectionScopedQuerySet):
    collection_path = "run__collection"


class StoredObjectQuerySet(CollectionScopedQuerySet):
    pass


class ExportQuerySet(CollectionScopedQuerySet):
    pass


class EmbeddingQuerySet(CollectionScopedQuerySet):
    pass
