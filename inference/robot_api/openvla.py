"""``POST /act``: the OpenVLA and OpenVLA-OFT dialect, with this system's keys, limits, safety and record.

Arrays are json_numpy's ``{"__numpy__": base64, "dtype", "shape"}``. OpenVLA asks with ``image`` and gets one action of
float64; OFT asks with ``full_image`` (and ``state``, wrist images) and gets a list, one array a step. The doubly
encoded variant (``{"encoded": text}``) is answered with a JSON string. Sources: ``vla-scripts/deploy.py`` of
openvla and of openvla-oft.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from typing import Any

import numpy as np
import orjson
import structlog
from channels.db import database_sync_to_async
from django.conf import settings

from accounts.credentials import Credential
from collections_app.models import Collection
from collections_app.snapshots import CollectionSnapshot
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
from core.problems import Problem, invalid, not_found
from inference.engine.gateway import Gateway, gateway
from inference.robot_api import decoding
from inference.robot_api.asking import ask
from inference.robot_api.caller import authenticate, permitted_collection

logger = structlog.get_logger(__name__)

_OPTIONAL = ("robot", "episode", "step", "model", "deadline_ms", "cache", "request_id")


async def act(scope: Scope, receive: Receive, send: Send) -> None:
    """One observation in, one action (OpenVLA) or a list of actions (OFT) out."""
    accepted_at = time.time()
    request_id = begin_request(scope)
    try:
        body, headers = await _answer(scope, receive, accepted_at)
    except ClientDisconnectedError:
        return
    except Problem as problem:
        await respond_problem(send, problem, request_id)
        return
    except Exception:
        logger.exception("act.failed", request_id=request_id)
        await respond_problem(send, Problem(500, "internal_error", "Something went wrong on our side."), request_id)
        return
    await respond(send, status=200, body=body, content_type="application/json", request_id=request_id, headers=headers)


async def _answer(scope: Scope, receive: Receive, accepted_at: float) -> tuple[bytes, dict[str, str]]:
    engine = gateway()
    credential = await authenticate(scope, engine)
    if header(scope, b"content-type").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "unsupported_media_type", "Send application/json.")
    body = await read_body(scope, receive, limit=settings.INFERENCE["MAX_BODY_BYTES"])
    payload = decoding.read_json(body)
    doubly = payload.keys() == {"encoded"}
    if doubly:
        if not isinstance(payload["encoded"], str):
            raise invalid("/encoded", "Must be JSON as text.")
        payload = decoding.read_json(payload["encoded"].encode())
    observation = {name: _decode(value, f"/{name}") for name, value in payload.items()}
    snapshot = await _collection(observation.pop("collection", None), credential, engine)
    fields = to_request(observation, snapshot)
    answer = await ask(fields, snapshot, credential, engine, accepted_at=accepted_at)
    actions = orjson.loads(answer.body)["actions"]
    if not actions:
        raise Problem(422, "chunk_rejected", "The safety check rejected the policy's actions.")
    if "full_image" in observation:
        told: Any = [_encode(np.asarray(action, np.float64)) for action in actions]
    else:
        told = _encode(np.asarray(actions[0], np.float64))
    encoded = orjson.dumps(told)
    headers = answer.rate_limit.headers()
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    headers["X-Inference-Request-ID"] = orjson.loads(answer.body)["request_id"]
    return (orjson.dumps(encoded.decode()) if doubly else encoded), headers


async def _collection(slug: Any, credential: Credential, engine: Gateway) -> CollectionSnapshot:
    """The named collection, or the key's only one: the dialect has no field for it."""
    if slug is None:
        if len(credential.collection_ids) != 1:
            raise invalid("/collection", "The key serves several collections; name one.")
        slug = await database_sync_to_async(_only_slug)(credential)
    return await permitted_collection(slug, credential, engine)


def _only_slug(credential: Credential) -> str:
    collection = Collection.objects.filter(pk__in=credential.collection_ids).first()
    if collection is None:
        raise not_found("No such collection.")
    return collection.slug


def to_request(observation: dict[str, Any], snapshot: CollectionSnapshot) -> dict[str, Any]:
    """The observation in this system's fields: the scene's image is the first camera, wrist images the next ones.

    A collection with more cameras than the client sends gets a black image for each that is missing, because the
    dialect's clients cannot be told; a state that is absent (OpenVLA has none) is zero.
    """
    pictures = [observation[name] for name in ("full_image", "image") if name in observation][:1]
    if not pictures:
        raise invalid("/image", "This field is required.")
    pictures += [value for name, value in observation.items() if "wrist" in name]
    images: dict[str, Any] = dict(zip(snapshot.cameras, pictures, strict=False))
    for camera in snapshot.cameras[len(pictures) :]:
        images[camera] = np.zeros((8, 8, 3), np.uint8)
    fields = {name: observation[name] for name in _OPTIONAL if name in observation}
    return {
        **fields,
        "instruction": observation.get("instruction"),
        "state": observation.get("state", [0.0] * snapshot.state_size),
        "images": images,
    }


def _decode(value: Any, pointer: str) -> Any:
    if not isinstance(value, dict) or "__numpy__" not in value:
        return value
    try:
        dtype = np.dtype(value["dtype"])
        data = binascii.a2b_base64(value["__numpy__"].encode("ascii"), strict_mode=True)
        shape = [int(side) for side in value["shape"]]
        if dtype.hasobject or dtype.kind in "Vc" or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError
        array = np.frombuffer(data, dtype).reshape(shape)
    except (KeyError, TypeError, ValueError, AttributeError, UnicodeEncodeError, binascii.Error):
        raise invalid(pointer, "This is not an encoded array.") from None
    return array if shape else array.item()


def _encode(array: np.ndarray) -> dict[str, Any]:
    return {
        "__numpy__": base64.b64encode(array.tobytes()).decode(),
        "dtype": array.dtype.str,
        "shape": list(array.shape),
    }
