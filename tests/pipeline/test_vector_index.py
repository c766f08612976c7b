"""The index over the vectors: chosen after its loss was shown, asked as it was built, looked after."""

from __future__ import annotations

import io
from datetime import timedelta

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.choices import Role
from accounts.models import AuditLog
from pipeline import tasks
from pipeline.embeddings import index_health, indexing, vector_index
from pipeline.embeddings import nearest as nearest_module
from pipeline.embeddings.search import MEANING, search
from pipeline.embeddings.vector_index import HNSW, IVFFLAT, Shape
from pipeline.models import Embedding, VectorIndexHealth
from tests.factories import CollectionFactory, InferenceResultFactory, MembershipFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """What a process knows of the index outlives a test's transaction; few rows would be compared without it."""
    monkeypatch.setattr(nearest_module, "COMPARED_SINGLY", 0)
    vector_index.ask_afresh()
    yield
    vector_index.ask_afresh()


@pytest.fixture
def spoken(encoder):
    kitchen = CollectionFactory(slug="kitchen")
    texts = [f"pick up part {number} of the {colour} box" for number in range(20) for colour in ("red", "blue")]
    results = [InferenceResultFactory(collection=kitchen, episode=None, robot=None, instruction=t) for t in texts]
    indexing.index_results([result.pk for result in results])
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an index cannot be built over rows that are not yet checked
    return kitchen


def replace(**options):
    said = io.StringIO()
    call_command("vector_index", stdout=said, sample=40, queries=5, **options)
    return said.getvalue()


def test_another_index_takes_over_after_its_loss_was_shown(spoken, monkeypatch):
    monkeypatch.setattr(vector_index, "KNOWN_SECONDS", 0.0)
    viewer = MembershipFactory(collection=spoken, role=Role.VIEWER).user
    assert vector_index.in_place() == Shape(HNSW, 384)

    said = replace(method="ivfflat", dimensions=96, yes=True)

    assert "in place: hnsw, 384 dimensions: recall@10 1.000" in said
    assert "proposed: ivfflat, 96 dimensions, 10 lists" in said
    assert "recall changes by" in said
    assert vector_index.in_place() == Shape(IVFFLAT, 96, lists=10)
    hit = search(principal=viewer, text="pick up part 7 of the blue box")[0]
    assert (hit.text, hit.matched[0]) == ("pick up part 7 of the blue box", MEANING)
    assert VectorIndexHealth.objects.get().method == "ivfflat"
    assert AuditLog.objects.filter(action="vector_index.replaced").exists()


def test_nothing_is_built_unless_it_is_accepted(spoken, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda question: "no")

    with pytest.raises(CommandError, match="Nothing was changed"):
        replace(dimensions=32)

    assert vector_index.in_place() == Shape(HNSW, 384)


@pytest.mark.parametrize("shape", [Shape(), Shape(HNSW, 96), Shape(IVFFLAT, 384, lists=4)], ids=str)
def test_searches_use_the_index_as_it_was_built(spoken, shape):
    from pgvector.django import CosineDistance

    vector_index.build(shape, memory="64MB")
    vector_index.take_over()
    vector = list(Embedding.objects.first().embedding)[: shape.dimensions]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    nearest = Embedding.objects.annotate(d=CosineDistance(vector_index.in_place().column(), vector)).order_by("d")[:5]

    assert vector_index.in_place() == shape
    assert "embedding_cosine" in nearest.explain()


def test_few_rows_are_compared_one_by_one_and_found_are_the_same(spoken, monkeypatch):
    rows = Embedding.objects.all()
    vector = np.asarray(rows.first().embedding)
    by_index = nearest_module.nearest(rows, vector)
    monkeypatch.setattr(nearest_module, "COMPARED_SINGLY", 1000)

    with CaptureQueriesContext(connection) as asked:
        singly = nearest_module.nearest(rows, vector)

    assert singly == by_index
    assert not any("hnsw" in query["sql"] for query in asked)
    assert nearest_module.nearest(rows.filter(collection__in=[]), vector) == {}


def test_the_health_says_what_the_index_finds(spoken):
    tasks.look_after_vector_index()

    health = VectorIndexHealth.objects.get()
    assert (health.method, health.dimensions, health.recall) == ("hnsw", 384, 1.0)
    assert health.bytes > 0


def test_lists_are_made_anew_when_there_are_many_more_rows(spoken):
    vector_index.build(Shape(IVFFLAT, lists=10), memory="64MB")
    vector_index.take_over()
    grown = VectorIndexHealth(method="ivfflat", dimensions=384, lists=10, rows=100_000, dead_rows=0, bytes=1)
    grown.save()

    assert index_health.maintain(grown) == "new lists"
    assert vector_index.in_place() == Shape(IVFFLAT, lists=100)

    grown.lists = 100
    assert index_health.maintain(grown) == ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('embedding_cosine_next')")
        assert cursor.fetchone() == (None,)
    assert vector_index.in_place() == Shape(IVFFLAT, lists=100)


@pytest.mark.parametrize(
    ("recalls", "bytes_per_row", "before", "wanted"),
    [
        ((0.90, 0.92), (1170, 1170), "", index_health.REBUILT),
        ((0.99, 0.92), (1170, 1170), "", ""),  # ten queries may mistake it once
        ((0.99, 0.99), (1170, 2400), "", index_health.REBUILT),
        ((0.90, 0.92), (1170, 1170), index_health.REBUILT, ""),  # an hour ago, and it did not help
    ],
    ids=["finds too little", "found too little once", "has become loose", "is built anew once a day"],
)
def test_an_index_in_bad_health_is_built_anew_and_serves_on(spoken, recalls, bytes_per_row, before, wanted):
    viewer = MembershipFactory(collection=spoken, role=Role.VIEWER).user
    seen = [
        VectorIndexHealth.objects.create(
            method="hnsw", dimensions=384, rows=100_000, dead_rows=0, bytes=size * 100_000, recall=recall
        )
        for recall, size in zip(recalls, bytes_per_row, strict=True)
    ]
    VectorIndexHealth.objects.filter(pk=seen[0].pk).update(
        measured_at=seen[1].measured_at - timedelta(hours=1), maintenance=before
    )
    files = "SELECT pg_relation_filenode('embedding_cosine')"
    with connection.cursor() as cursor:
        was = cursor.execute(files).fetchone()

        assert index_health.maintain(seen[1]) == wanted

        assert (cursor.execute(files).fetchone() != was) == bool(wanted)
    assert VectorIndexHealth.objects.get(pk=seen[1].pk).maintenance == wanted
    assert search(principal=viewer, text="part 7 of the blue box")[0].text == "pick up part 7 of the blue box"
