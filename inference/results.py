"""A recorded row as the answer that the robot got, and as what a reader is shown."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from core.problems import Problem
from inference import forgotten
from inference.models import InferenceRequest, InferenceResult


def answer_body(
    *,
    request_id: uuid.UUID,
    actions: list[list[float]],
    model_name: str,
    model_version: str,
    safety: dict[str, Any],
    cached: bool,
    timing: dict[str, Any],
) -> bytes:
    """The JSON of a 200, contract section 3."""
    return orjson.dumps(
        {
            "request_id": str(request_id),
            "actions": actions,
            "model": {"name": model_name, "version": model_version},
            "safety": safety,
            "cached": cached,
            "timing": timing,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def stored_answer(request_id: uuid.UUID, digest: bytes) -> bytes | None:
    """The answer recorded for ``request_id``, or None. Raises ``Problem`` 409 where the request was another one."""
    forgotten_key = forgotten.trace(request_id)
    entries = {entry.pk: entry for entry in InferenceRequest.objects.filter(pk__in=[request_id, forgotten_key])}
    if forgotten_key in entries:
        raise Problem(409, "request_id_reused", "This request id was used, and its record is no longer kept.")
    ledger = entries.get(request_id)
    if ledger is None:
        return None
    if bytes(ledger.digest) != digest:
        raise Problem(409, "request_id_reused", "This request id was used for another request.")
    result = InferenceResult.objects.with_request_id(request_id).filter(created_at=ledger.created_at).first()
    if result is None:
        raise Problem(409, "request_id_reused", "This request id was used, and its record is no longer kept.")
    return answer_body(
        request_id=request_id,
        actions=result.output_actions,
        model_name=result.model_name,
        model_version=result.model_version,
        safety=safety_of(result),
        cached=result.cached,
        timing=timing_of(result),
    )


def safety_of(result: InferenceResult) -> dict[str, Any]:
    """The contract's ``safety`` object of a recorded result."""
    return {
        "score": result.safety_score,
        "verdict": result.safety_verdict,
        "violations": result.safety_violations,
    }


def timing_of(result: InferenceResult) -> dict[str, Any]:
    """The contract's ``timing`` object of a recorded result, in milliseconds."""
    return {
        "queue_ms": result.queue_ms,
        "inference_ms": result.inference_time_ms,
        "total_ms": result.total_ms,
        "batch_size": result.batch_size,
    }
