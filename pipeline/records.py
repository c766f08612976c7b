"""Reading raw records: a shard of a run, or an export's selection, as Arrow tables in one fixed order.

The order is (episode, step, time, id): what belongs together lies together, and the same data is read the same way.
JSON columns stay text here; the validate stage says what they hold.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
from django.db.models import F, QuerySet, TextField
from django.db.models.functions import Cast

from collections_app.models import Episode
from feedback.choices import FeedbackType
from feedback.models import Feedback
from inference.models import InferenceResult

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
    ]
)
_ORDER = (F("episode_id").asc(nulls_last=True), F("step").asc(nulls_last=True), F("created_at").asc(), F("id").asc())
_COLUMNS = (
    "id",
    "request_id",
    "created_at",
    "robot__name",
    "episode_id",
    "step",
    "instruction",
    "state_text",
    "actions_text",
    "proposed_text",
    "safety_verdict",
    "safety_score",
    "violations_text",
    "confidence",
    "model_name",
    "model_version",
    "queue_ms",
    "inference_time_ms",
    "total_ms",
    "batch_size",
    "images_text",
)


def in_order(results: QuerySet[InferenceResult]) -> QuerySet[InferenceResult]:
    return results.order_by(*_ORDER)


def read(results: QuerySet[InferenceResult], *, as_of: datetime) -> pa.Table:
    """The records of ``results`` in order, with what was known of them at ``as_of``, by ``RAW_SCHEMA``.

    Everything is held in memory: the caller bounds ``results``.
    """
    rows = list(
        in_order(results)
        .annotate(
            state_text=Cast("input_state", TextField()),
            actions_text=Cast("output_actions", TextField()),
            proposed_text=Cast("proposed_actions", TextField()),
            violations_text=Cast("safety_violations", TextField()),
            images_text=Cast("images", TextField()),
        )
        .values_list(*_COLUMNS)
    )
    columns: dict[str, Sequence[Any]] = (
        dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(_COLUMNS, ())
    )
    episodes = _episodes(columns["episode_id"])
    answers = _answers(columns["id"], as_of)
    found = [answers.get(identifier, _NO_ANSWER) for identifier in columns["id"]]
    owners = [episodes.get(identifier, _NO_EPISODE) for identifier in columns["episode_id"]]
    values: dict[str, Sequence[Any]] = {
        "id": [str(value) for value in columns["id"]],
        "request_id": [str(value) for value in columns["request_id"]],
        "created_at": columns["created_at"],
        "robot": columns["robot__name"],
        "episode_id": [None if value is None else str(value) for value in columns["episode_id"]],
        "episode": [owner["external_id"] for owner in owners],
        "outcome": [owner["outcome"] for owner in owners],
        "tags": [owner["tags"] for owner in owners],
        "step": columns["step"],
        "instruction": columns["instruction"],
        "state_json": columns["state_text"],
        "actions_json": columns["actions_text"],
        "proposed_json": columns["proposed_text"],
        "corrected_json": [answer["corrected_json"] for answer in found],
        "corrected_by": [answer["corrected_by"] for answer in found],
        "intervention": [answer["intervention"] for answer in found],
        "rating": [answer["rating"] for answer in found],
        "comments": [answer["comments"] for answer in found],
        "verdict": columns["safety_verdict"],
        "safety_score": columns["safety_score"],
        "violations": columns["violations_text"],
        "confidence": columns["confidence"],
        "policy_name": columns["model_name"],
        "policy_version": columns["model_version"],
        "queue_ms": columns["queue_ms"],
        "inference_ms": columns["inference_time_ms"],
        "total_ms": columns["total_ms"],
        "batch_size": columns["batch_size"],
        "images": columns["images_text"],
    }
    return pa.table([pa.array(values[f.name], f.type) for f in RAW_SCHEMA], schema=RAW_SCHEMA)


_NO_EPISODE: Mapping[str, Any] = {"external_id": None, "outcome": "", "tags": []}
_NO_ANSWER: Mapping[str, Any] = {
    "corrected_json": None,
    "corrected_by": None,
    "intervention": False,
    "rating": None,
    "comments": [],
}


def _episodes(identifiers: Iterable[uuid.UUID | None]) -> dict[uuid.UUID | None, Mapping[str, Any]]:
    wanted = {identifier for identifier in identifiers if identifier is not None}
    rows = Episode.objects.filter(pk__in=wanted).values("pk", "external_id", "outcome", "tags")
    return {row["pk"]: row for row in rows}


def _answers(results: Sequence[uuid.UUID], as_of: datetime) -> dict[uuid.UUID, dict[str, Any]]:
    """What people said of each result by ``as_of``: the newest accepted correction, the mean rating, the comments."""
    given = Feedback.objects.filter(inference_result_id__in=results, created_at__lte=as_of)
    known: dict[uuid.UUID, list[Feedback]] = defaultdict(list)
    for feedback in given.usable().with_final_actions().order_by("created_at", "id"):
        known[feedback.inference_result_id].append(feedback)
    return {identifier: _summary(feedback) for identifier, feedback in known.items()}


def _summary(given: Sequence[Any]) -> dict[str, Any]:
    corrections = [feedback for feedback in given if feedback.final_actions is not None]
    ratings = [feedback.rating for feedback in given if feedback.rating is not None]
    newest = corrections[-1] if corrections else None
    return {
        "corrected_json": orjson.dumps(newest.final_actions).decode() if newest else None,
        "corrected_by": str(newest.annotator_id or newest.api_key_id or "") if newest else None,
        "intervention": any(feedback.feedback_type == FeedbackType.INTERVENTION for feedback in given),
        "rating": sum(ratings) / len(ratings) if ratings else None,
        "comments": [feedback.comment for feedback in given if feedback.comment],
    }
