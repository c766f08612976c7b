"""``POST /api/v1/inference``: a thin ASGI endpoint; no Django handler, ORM or storage is on a robot's way."""

from __future__ import annotations

import time
from typing import Any

import orjson
import structlog
from django.conf import settings

from core.asgi import (
    ClientDisconnectedError,
    Receive,
    Scope,
    Send,
    begin_request,
    header,
    read_body,
    respond,
    respond_problem,
)
from core.problems import Problem
from inference.engine.gateway import Answer, gateway
from inference.robot_api import decoding, openpi_msgpack
from inference.robot_api.asking import ask
from inference.robot_api.caller import authenticate, permitted_collection
from inference.robot_api.multipart import parse_form

logger = structlog.get_logger(__name__)

JSON = "application/json"
MSGPACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


async def inference(scope: Scope, receive: Receive, send: Send) -> None:
    """One observation in, one action chunk out (contract section 3)."""
    accepted_at = time.time()
    request_id = begin_request(scope)
    try:
        answer, spoken = await _answer(scope, receive, accepted_at)
    except ClientDisconnectedError:
        return
    except Problem as problem:
        await respond_problem(send, problem, request_id)
        return
    except Exception:
        logger.exception("inference.failed", request_id=request_id)
        await respond_problem(send, Problem(500, "internal_error", "Something went wrong on our side."), request_id)
        return
    headers = answer.rate_limit.headers()
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    body = answer.body if spoken == JSON else openpi_msgpack.pack(_with_arrays(answer.body))
    await respond(send, status=200, body=body, content_type=spoken, request_id=request_id, headers=headers)


async def _answer(scope: Scope, receive: Receive, accepted_at: float) -> tuple[Answer, str]:
    engine = gateway()
    credential = await authenticate(scope, engine)
    content_type, _, parameters = header(scope, b"content-type").partition(";")
    content_type = content_type.strip().lower()
    if header(scope, b"content-encoding") not in ("", "identity"):
        raise Problem(415, "unsupported_media_type", "Compressed bodies are not spoken here.")
    if content_type not in (JSON, "multipart/form-data", *MSGPACK):
        raise Problem(
            415,
            "unsupported_media_type",
            f"Send {JSON}, multipart/form-data or {MSGPACK[0]}, not '{content_type[:60]}'.",
        )
    body = await read_body(scope, receive, limit=settings.INFERENCE["MAX_BODY_BYTES"])
    fields: dict[str, Any]
    if content_type == JSON:
        fields, spoken = decoding.read_json(body), JSON
    elif content_type in MSGPACK:
        fields, spoken = openpi_msgpack.unpack_map(body), content_type
    else:
        fields, spoken = decoding.read_multipart(*parse_form(body, parameters)), JSON
    snapshot = await permitted_collection(decoding.collection_slug(fields), credential, engine)
    return await ask(fields, snapshot, credential, engine, accepted_at=accepted_at), spoken


def _with_arrays(body: bytes) -> dict[str, Any]:
    """The answer with its actions as an array, for a robot that speaks msgpack."""
    import numpy as np

    answer: dict[str, Any] = orjson.loads(body)
    answer["actions"] = np.asarray(answer["actions"], np.float32)
    return answer
