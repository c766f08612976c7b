"""Vectors of texts and of pictures, what serves searches, and what people keep of them."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast
from django.utils.translation import gettext_lazy as _
from pgvector.django import HalfVectorField, HnswIndex, VectorField

from collections_app.models import Collection, Episode, Robot
from core.identifiers import uuid7
from inference.choices import Verdict
from inference.models import InferenceResult, PolicyVersion
from pipeline.choices import EmbeddingSource, VectorSetState
from pipeline.querysets import CollectionMapQuerySet, EmbeddingQuerySet, VectorSetQuerySet

EMBEDDING_DIMENSIONS = 384


class Embedding(models.Model):
    """The meaning of a text as a unit vector; ``source_id`` is the result's or feedback's id.

    The steps of an episode repeat one instruction: it is embedded once an episode, for the first result that had it.
    What searches filter by is kept in the row, so that a filter is applied while the vector index is scanned.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="embeddings")
    source_kind = models.CharField(max_length=12, choices=EmbeddingSource)
    source_id = models.UUIDField()
    inference_result = models.ForeignKey(
        InferenceResult, null=True, on_delete=models.CASCADE, db_constraint=False, related_name="embeddings"
    )
    episode = models.ForeignKey(Episode, null=True, on_delete=models.CASCADE, related_name="embeddings")
    robot = models.ForeignKey(Robot, null=True, on_delete=models.SET_NULL, related_name="embeddings")
    policy_version = models.ForeignKey(
        PolicyVersion, null=True, on_delete=models.SET_NULL, related_name="embeddings", db_index=False
    )
    safety_verdict = models.CharField(max_length=8, choices=Verdict, blank=True)
    occurred_at = models.DateTimeField(help_text=_("When the source was made."))
    text = models.TextField(help_text=_("Anonymised."))
    text_sha256 = models.CharField(max_length=64)
    search_vector = models.GeneratedField(
        expression=SearchVector("text", config="english"), output_field=SearchVectorField(), db_persist=True
    )
    embedding = VectorField(dimensions=EMBEDDING_DIMENSIONS)
    model_name = models.CharField(max_length=100)
    model_revision = models.CharField(max_length=64)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EmbeddingQuerySet.as_manager()

    class Meta:
        db_table = "embeddings"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="embedding_once", fields=["source_id", "source_kind", "model_name", "model_revision"]
            ),
            models.UniqueConstraint(
                name="embedding_text_once_an_episode",
                fields=["episode", "text_sha256", "model_name", "model_revision"],
                condition=Q(source_kind=EmbeddingSource.RESULT, episode__isnull=False),
            ),
            models.CheckConstraint(name="embedding_source_known", condition=Q(source_kind__in=EmbeddingSource.values)),
        ]
        indexes = [
            HnswIndex(
                OpClass(Cast("embedding", HalfVectorField(dimensions=EMBEDDING_DIMENSIONS)), name="halfvec_cosine_ops"),
                name="embedding_cosine",
                m=16,
                ef_construction=64,
            ),
            models.Index(fields=["collection", "-created_at"], name="embedding_newest"),
            models.Index(fields=["text_sha256"], name="embedding_text"),
            GinIndex(fields=["metadata"], name="embedding_metadata", opclasses=["jsonb_path_ops"]),
            GinIndex(fields=["search_vector"], name="embedding_words"),
        ]

    def __str__(self) -> str:
        return self.text[:80]


class ImageEmbedding(models.Model):
    """What a camera saw at a moment, as a unit vector in the space of an image model's words and pictures."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="image_embeddings")
    inference_result = models.ForeignKey(
        InferenceResult, on_delete=models.CASCADE, db_constraint=False, related_name="image_embeddings"
    )
    episode = models.ForeignKey(Episode, null=True, on_delete=models.CASCADE, related_name="image_embeddings")
    robot = models.ForeignKey(Robot, null=True, on_delete=models.SET_NULL, related_name="image_embeddings")
    policy_version = models.ForeignKey(
        PolicyVersion, null=True, on_delete=models.SET_NULL, related_name="image_embeddings", db_index=False
    )
    safety_verdict = models.CharField(max_length=8, choices=Verdict, blank=True)
    occurred_at = models.DateTimeField(help_text=_("When the picture was taken."))
    camera = models.CharField(max_length=64)
    place = models.UUIDField(help_text=_("The episode, or the result where there is none."))
    moment = models.BigIntegerField(help_text=_("The stretch of time that this picture stands for."))
    embedding = VectorField(help_text=_("Its length is the model's."))
    dimensions = models.PositiveSmallIntegerField()
    model_name = models.CharField(max_length=100)
    model_revision = models.CharField(max_length=64)
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EmbeddingQuerySet.as_manager()

    class Meta:
        db_table = "image_embeddings"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="image_embedding_once", fields=["place", "camera", "moment", "model_name", "model_revision"]
            ),
        ]
        indexes = [models.Index(fields=["collection", "-created_at"], name="image_embedding_newest")]

    def __str__(self) -> str:
        return f"{self.camera}, {self.occurred_at:%Y-%m-%d %H:%M:%S}"


class VectorSet(models.Model):
    """A collection's embeddings by one model: being made, serving searches, or waiting to be removed.

    A new model's vectors are written beside the old ones, which serve until the new ones are complete.
    """

    id = models.BigAutoField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="vector_sets")
    model_name = models.CharField(max_length=100)
    model_revision = models.CharField(max_length=64)
    dimensions = models.PositiveSmallIntegerField(default=EMBEDDING_DIMENSIONS)
    folder = models.CharField(
        max_length=512, blank=True, help_text=_("Where the weights lie; empty: in the installed package.")
    )
    state = models.CharField(max_length=8, choices=VectorSetState)
    made = models.PositiveBigIntegerField(default=0, help_text=_("While it is being made: how many rows there are."))
    wanted = models.PositiveBigIntegerField(default=0, help_text=_("How many the set that serves has."))
    copied_to = models.UUIDField(null=True, help_text=_("The last row of the set that serves that has its like here."))
    heartbeat_at = models.DateTimeField(null=True)
    served_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = VectorSetQuerySet.as_manager()

    class Meta:
        db_table = "vector_sets"
        ordering = ["collection", "-id"]
        constraints = [
            models.UniqueConstraint(name="vector_set_once", fields=["collection", "model_name", "model_revision"]),
            models.UniqueConstraint(
                name="one_vector_set_serves", fields=["collection"], condition=Q(state=VectorSetState.SERVING)
            ),
            models.CheckConstraint(name="vector_set_state_known", condition=Q(state__in=VectorSetState.values)),
        ]

    def __str__(self) -> str:
        return f"{self.model_name} {self.model_revision} ({self.get_state_display()})"

    @property
    def progress(self) -> float:
        """0..1."""
        if self.state != VectorSetState.BUILDING:
            return 1.0
        return min(1.0, self.made / self.wanted) if self.wanted else 0.0


class VectorIndexHealth(models.Model):
    """How the index over the text vectors was at a moment, and what was done for it then."""

    id = models.BigAutoField(primary_key=True)
    measured_at = models.DateTimeField(auto_now_add=True)
    method = models.CharField(max_length=8)
    dimensions = models.PositiveSmallIntegerField()
    lists = models.PositiveIntegerField(default=0, help_text=_("Of IVFFlat."))
    rows = models.PositiveBigIntegerField()
    dead_rows = models.PositiveBigIntegerField()
    bytes = models.PositiveBigIntegerField()
    recall = models.FloatField(
        null=True, help_text=_("Of the ten nearest, the share that the index finds; empty: too few or too many rows.")
    )
    vacuumed_at = models.DateTimeField(null=True)
    analysed_at = models.DateTimeField(null=True)
    maintenance = models.CharField(max_length=32, blank=True)

    class Meta:
        db_table = "vector_index_health"
        ordering = ["-measured_at"]
        verbose_name_plural = _("vector index health")

    def __str__(self) -> str:
        return f"{self.method}, {self.rows} rows"


class SavedSearch(models.Model):
    """A search that a person keeps; it is asked anew, with what the person may read by then."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_searches")
    name = models.CharField(max_length=100)
    query = models.JSONField(help_text=_("The search page's own parameters."))
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "saved_searches"
        ordering = ["name"]
        constraints = [models.UniqueConstraint(name="saved_search_name_once", fields=["owner", "name"])]

    def __str__(self) -> str:
        return self.name


class CollectionMap(models.Model):
    """A collection's distinct texts on a plane, near where they mean alike; drawn by a worker."""

    collection = models.OneToOneField(Collection, primary_key=True, on_delete=models.CASCADE, related_name="map")
    points = models.JSONField(default=list, help_text=_("x and y in -1..1, text, how often, and a request id."))
    explained = models.FloatField(help_text=_("The share of the variance that the plane shows, 0..1."))
    embeddings = models.PositiveBigIntegerField(help_text=_("How many rows it was drawn from."))
    drawn_at = models.DateTimeField(auto_now=True)

    objects = CollectionMapQuerySet.as_manager()

    class Meta:
        db_table = "collection_maps"
        ordering = ["collection"]

    def __str__(self) -> str:
        return f"Map of {self.collection_id}"
