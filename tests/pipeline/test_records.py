"""Reading records by COPY."""

from __future__ import annotations

import pyarrow as pa
import pytest
from django.db import DataError, connection, transaction
from django.db.models import F, IntegerField, Value
from django.db.models.functions import Cast

from inference.models import InferenceResult
from pipeline import records
from tests.factories import CollectionFactory, InferenceResultFactory
from tests.pipeline.factories import make_episode

pytestmark = pytest.mark.django_db

STEPS = {"step": pa.int64(), "instruction": pa.string()}


def steps_of(results) -> pa.Table:
    return records.copied(results.order_by("step").values_list("step", "instruction"), STEPS)


def test_texts_that_csv_must_quote_come_as_they_are():
    collection = CollectionFactory()
    texts = ["", "a,b", 'say "no"', "two\nlines", "carriage\rreturn", "\\.", "ünïcødé 🤖", "NULL"]
    for step, text in enumerate(texts):
        InferenceResultFactory(collection=collection, step=step, instruction=text)

    table = steps_of(InferenceResult.objects.filter(collection=collection))

    assert table.column("instruction").to_pylist() == texts
    assert [column.num_chunks for column in table.columns] == [1, 1]


def test_more_than_the_connection_holds_at_once_comes_whole():
    collection = CollectionFactory()
    make_episode(collection, steps=300)
    InferenceResult.objects.filter(collection=collection).update(instruction="x" * 3000)

    table = steps_of(InferenceResult.objects.filter(collection=collection))

    assert table.column("step").to_pylist() == list(range(300))
    assert set(table.column("instruction").to_pylist()) == {"x" * 3000}


def test_nothing_has_the_columns_still():
    table = steps_of(InferenceResult.objects.filter(step=9999))

    assert table.num_rows == 0
    assert table.schema == pa.schema(STEPS)


def test_a_server_that_stops_amid_the_rows_is_an_error_and_leaves_the_connection_usable():
    collection = CollectionFactory()
    make_episode(collection, steps=20)
    results = InferenceResult.objects.filter(collection=collection).order_by("step")
    broken = results.annotate(share=Value(1) / Cast(F("step") - 15, IntegerField()))

    with pytest.raises(DataError, match="division by zero"), transaction.atomic():
        records.copied(broken.values_list("step", "share"), {"step": pa.int64(), "share": pa.int64()})

    assert steps_of(results).num_rows == 20
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_record_knows_its_robot_and_its_episode():
    collection = CollectionFactory()
    _, results = make_episode(collection, steps=2, outcome="success")
    episode = results[0].episode
    episode.tags = ["night"]
    episode.save()
    InferenceResultFactory(collection=collection, episode=None, robot=None, step=None)

    table = records.read(InferenceResult.objects.filter(collection=collection), as_of=results[0].created_at)

    assert table.column("robot").to_pylist() == [results[0].robot.name] * 2 + [None]
    assert table.column("episode").to_pylist() == [episode.external_id] * 2 + [None]
    assert table.column("outcome").to_pylist() == ["success", "success", ""]
    assert table.column("tags").to_pylist() == [["night"], ["night"], []]
