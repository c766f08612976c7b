"""Reading raw records: a shard of a run, or an export's selection, as Arrow tables in one fixed order.

The order is (episode, step, time, id): what belongs together lies together, and the same data is read the same way.
JSON columns stay text here; the validate stage says what they hold. The server writes the rows as CSV and Arrow reads
it: no row becomes a Python object on the way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
from django.db import connection
from django.db.backends.postgresql.psycopg_any import mogrify
from django.db.models import BigIntegerField, BooleanField, F, Func, QuerySet, TextField, Value
from django.db.models.functions import Cast
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn
from psycopg.waiting import Wait

from collections_app.models import Episode, Robot
from feedback.choices import FeedbackType
from feedback.models import Feedback
from inference.models import InferenceResult
from pipeline.models import PurgedRecord
from pipeline.stages.base import one_array

RAW_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("request_id", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
        ("robot", pa.string()),
        ("episode_id", pa.string()),
        ("episode", pa.string()),
        ("outcome", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("step", pa.int64()),
        ("instruction", pa.string()),
        ("state_json", pa.string()),
        ("actions_json", pa.string()),
        ("proposed_json", pa.string()),
        ("corrected_json", pa.string()),
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
        ("images", pa.string()),
        ("camera_remarks", pa.list_(pa.string())),  # null unless the raw pictures were purged
    ]
)
_ORDER = (F("episode_id").asc(nulls_last=True), F("step").asc(nulls_last=True), F("created_at").asc(), F("id").asc())
# Where a column of RAW_SCHEMA comes from. The others are looked up apart: what is known of the robot and the episode,
# what people said, what is kept of raw pictures. Without a join PostgreSQL gives the rows as an index holds them, and
# sorts next to nothing.
_SOURCES: Mapping[str, Any] = {
    "id": F("id"),
    "request_id": F("request_id"),
    "created_at": Func(
        F("created_at"),
        template="(extract(epoch from %(expressions)s) * 1000000)::bigint",  # exact: PostgreSQL keeps microseconds
        output_field=BigIntegerField(),
    ),
    "robot": F("robot_id"),
    "episode_id": F("episode_id"),
    "step": F("step"),
    "instruction": F("instruction"),
    "state_json": Cast("input_state", TextField()),
    "actions_json": Cast("output_actions", TextField()),
    "proposed_json": Cast("proposed_actions", TextField()),
    "verdict": F("safety_verdict"),
    "safety_score": F("safety_score"),
    "violations": Cast("safety_violations", TextField()),
    "confidence": F("confidence"),
    "policy_name": F("model_name"),
    "policy_version": F("model_version"),
    "queue_ms": F("queue_ms"),
    "inference_ms": F("inference_time_ms"),
    "total_ms": F("total_ms"),
    "batch_size": F("batch_size"),
    "images": Cast("images", TextField()),
}
_TYPES = {name: RAW_SCHEMA.field(name).type for name in _SOURCES} | {"created_at": pa.int64()}


def in_order(results: QuerySet[InferenceResult]) -> QuerySet[InferenceResult]:
    return results.order_by(*_ORDER)


def read(results: QuerySet[InferenceResult], *, as_of: datetime) -> pa.Table:
    """The records of ``results`` in order, with what was known of them at ``as_of``, by ``RAW_SCHEMA``.

    Everything is held in memory: the caller bounds ``results``.
    """
    table = copied(in_order(results).values_list(*_SOURCES.values()), _TYPES)
    columns = {name: table.column(name) for name in table.column_names}
    columns["created_at"] = columns["created_at"].cast(RAW_SCHEMA.field("created_at").type)
    columns |= _robots_and_episodes(columns["robot"], columns["episode_id"])
    identifiers = columns["id"].to_pylist()
    answers = _answers(identifiers, as_of)
    found = [answers.get(identifier, _NO_ANSWER) for identifier in identifiers]
    for name in _NO_ANSWER:
        columns[name] = pa.array([answer[name] for answer in found], RAW_SCHEMA.field(name).type)
    _recall_purged(columns, identifiers)
    return pa.table([columns[name] for name in RAW_SCHEMA.names], schema=RAW_SCHEMA)


def _recall_purged(columns: dict[str, Any], identifiers: Sequence[str]) -> None:
    """Of records whose raw data was purged: what was remarked of the raw pictures, and the episode's published name."""
    purged = {str(row.pk): row for row in PurgedRecord.objects.filter(is_any_of("result_id", identifiers))}
    remarks = [purged[identifier].remarks if identifier in purged else None for identifier in identifiers]
    columns["camera_remarks"] = pa.array(remarks, RAW_SCHEMA.field("camera_remarks").type)
    if any(row.episode for row in purged.values()):
        names = columns["episode"].to_pylist()
        told = [purged[identifier].episode if identifier in purged else "" for identifier in identifiers]
        columns["episode"] = pa.array([new or name for new, name in zip(told, names, strict=True)], pa.string())


def is_any_of(field: str, identifiers: Iterable[str]) -> Func:
    """A condition with one array, where "IN" would have a placeholder for each of ten thousand ids."""
    return Func(
        F(field),
        Value("{" + ",".join(identifiers) + "}"),
        template="%(expressions)s::uuid[])",
        arg_joiner=" = ANY(",
        output_field=BooleanField(),
    )


def copied(rows: QuerySet[Any, Any], types: Mapping[str, pa.DataType]) -> pa.Table:
    """What a ``values_list`` selects, in columns of one chunk each, named and typed by ``types`` in its order.

    Several of the server's processes may work on a COPY, which they may not on what a cursor reads.
    """
    sql, parameters = rows.query.sql_with_params()
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        # Composed here: with DEBUG, Django's cursor copies without parameters only.
        cursor.copy(mogrify(f"COPY ({sql}) TO STDOUT (FORMAT csv)", parameters, connection)),
    ):
        data = connection.connection.wait(_drained(connection.connection.pgconn))
    if not data:
        return pa.schema(types).empty_table()
    return pa_csv.read_csv(
        pa.BufferReader(data),
        # One block, one thread: other cores have their own workers.
        read_options=pa_csv.ReadOptions(column_names=list(types), use_threads=False, block_size=len(data)),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        # PostgreSQL writes null as nothing and an empty text as "".
        convert_options=pa_csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    ).combine_chunks()


def _drained(connected: PGconn) -> PQGen[bytearray]:
    """All that a COPY gives, in one wait and one piece: psycopg's ``Copy`` waits for each row, longer than a row takes.

    Raises what made the server stop.
    """
    data = bytearray()
    while True:
        size, row = connected.get_copy_data(1)
        if size > 0:
            data += row
        elif size < 0:
            break
        else:
            while not (yield Wait.R):
                pass
            connected.consume_input()
    for result in (yield from fetch_many(connected)):
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result)
    return data


def _robots_and_episodes(robots: pa.ChunkedArray, episodes: pa.ChunkedArray) -> dict[str, pa.Array]:
    """The robot's name, and what is known of the episode, for each record's ids; a null id has null and no tags."""
    names = Robot.objects.filter(pk__in=robots.unique().drop_null().to_pylist()).values_list("pk", "name")
    known = Episode.objects.filter(pk__in=episodes.unique().drop_null().to_pylist())
    told = {str(row["pk"]): row for row in known.values("pk", "external_id", "outcome", "tags")}
    return {
        "robot": _looked_up(robots, {str(pk): name for pk, name in names}, None, "robot"),
        "episode": _looked_up(episodes, {pk: row["external_id"] for pk, row in told.items()}, None, "episode"),
        "outcome": _looked_up(episodes, {pk: row["outcome"] for pk, row in told.items()}, "", "outcome"),
        "tags": _looked_up(episodes, {pk: row["tags"] for pk, row in told.items()}, [], "tags"),
    }


def _looked_up(identifiers: pa.ChunkedArray, values: Mapping[str, Any], unknown: Any, column: str) -> pa.Array:
    encoded = one_array(identifiers).dictionary_encode(null_encoding="encode")
    found = [values.get(identifier, unknown) for identifier in encoded.dictionary.to_pylist()]
    return pa.array(found, RAW_SCHEMA.field(column).type).take(encoded.indices)


_NO_ANSWER: Mapping[str, Any] = {
    "corrected_json": None,
    "corrected_by": None,
    "corrected_at": None,
    "correction_seconds": None,
    "intervention": False,
    "rating": None,
    "comments": [],
}


def _answers(results: Sequence[str], as_of: datetime) -> dict[str, dict[str, Any]]:
    """What people said of each result by ``as_of``: the newest accepted correction, the mean rating, the comments."""
    given = Feedback.objects.filter(is_any_of("inference_result_id", results), created_at__lte=as_of)
    known: dict[str, list[Feedback]] = defaultdict(list)
    for feedback in given.usable().with_final_actions().order_by("created_at", "id"):
        known[str(feedback.inference_result_id)].append(feedback)
    return {identifier: _summary(feedback) for identifier, feedback in known.items()}


def _summary(given: Sequence[Any]) -> dict[str, Any]:
    corrections = [feedback for feedback in given if feedback.final_actions is not None]
    ratings = [feedback.rating for feedback in given if feedback.rating is not None]
    newest = corrections[-1] if corrections else None
    return {
        "corrected_json": orjson.dumps(newest.final_actions).decode() if newest else None,
        "corrected_by": str(newest.annotator_id or newest.api_key_id or "") if newest else None,
        "corrected_at": newest.created_at if newest else None,
        "correction_seconds": newest.seconds_spent if newest else None,
        "intervention": any(feedback.feedback_type == FeedbackType.INTERVENTION for feedback in given),
        "rating": sum(ratings) / len(ratings) if ratings else None,
        "comments": [feedback.comment for feedback in given if feedback.comment],
    }
