"""Contract section 3, row by row, through the whole ASGI application and a running engine."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import threading
import time
import uuid
import zlib
from typing import Any

import httpx
import numpy as np
import pytest
from django.db.backends.utils import CursorWrapper
from PIL import Image

from accounts.models import ApiKey, RateLimitTier
from collections_app.models import Collection
from core.identifiers import uuid7
from core.redis import engine_redis
from inference.engine import keys
from inference.engine.worker import InferenceWorker
from inference.models import InferenceResult, PolicyVersion
from inference.recorder import Recorder
from tests.factories import ApiKeyFactory, CollectionFactory
from tests.inference.conftest import jpeg, observation

URL = "/api/v1/inference"
encode = lambda data: base64.b64encode(data).decode()  # noqa: E731 - a name for a test's sake


def pointers(response: httpx.Response) -> list[str]:
    return [error["pointer"] for error in response.json().get("errors", [])]


async def test_an_observation_is_answered_with_a_chunk(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, version: PolicyVersion
) -> None:
    response = await robot.post(URL, json=observation(collection), headers={"X-Request-ID": "robot-7-step-3"})
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "robot-7-step-3"
    body = response.json()
    assert uuid.UUID(body["request_id"])
    assert (len(body["actions"]), len(body["actions"][0])) == (8, 7)
    assert body["model"] == {"name": version.name, "version": "1"}
    assert body["safety"] == {"score": 1.0, "verdict": "pass", "violations": []}
    assert body["cached"] is False
    assert body["timing"].keys() == {"queue_ms", "inference_ms", "total_ms", "batch_size"}


async def test_a_robot_that_is_known_is_answered_without_the_database(
    robot: httpx.AsyncClient,
    collection: Collection,
    worker: InferenceWorker,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.INFERENCE = {**settings.INFERENCE, "SETTINGS_CACHE_SECONDS": 60}
    assert (await robot.post(URL, json=observation(collection, step=1))).status_code == 200
    asking: set[str] = set()
    execute = CursorWrapper.execute

    def noted(*arguments: Any, **options: Any) -> Any:
        asking.add(threading.current_thread().name)
        return execute(*arguments, **options)

    monkeypatch.setattr(CursorWrapper, "execute", noted)
    assert (await robot.post(URL, json=observation(collection, step=2))).status_code == 200
    assert asking <= {"engine-keeper"}  # looks at the registry of versions, whoever asks


async def test_the_same_observation_as_a_form_and_as_msgpack_has_the_same_answer(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    from inference.robot_api import openpi_msgpack

    as_json = (await robot.post(URL, json=observation(collection))).json()
    fields = {
        "collection": collection.slug,
        "instruction": "pick up the red cube",
        "state": json.dumps([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
    }
    files = {camera: (f"{camera}.jpg", jpeg(), "image/jpeg") for camera in collection.cameras}
    as_form = await robot.post(URL, data=fields, files=files)
    assert as_form.status_code == 200
    assert as_form.json()["actions"] == as_json["actions"]

    packed = openpi_msgpack.pack(observation(collection, images=dict.fromkeys(collection.cameras, jpeg())))
    as_msgpack = await robot.post(URL, content=packed, headers={"Content-Type": "application/msgpack"})
    assert as_msgpack.status_code == 200
    assert as_msgpack.headers["content-type"] == "application/msgpack"
    actions = openpi_msgpack.unpack_map(as_msgpack.content)["actions"]
    np.testing.assert_allclose(actions, as_json["actions"], atol=1e-6)


# --- malformed JSON, wrong type, wrong length, NaN, unknown camera, broken image: 400 with the pointer ---


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b'{"state": NaN}',
        b'{"state": 1e999}',
        b"\xff\xfe",
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"instruction": "\\u0000"}',
        b'{"instruction": "\\ud800"}',
        b'{"step": 1, "step": 2}',
    ],
    ids=["cut", "empty", "list", "null", "NaN", "1e999", "not utf-8", "deep", "NUL", "surrogate", "key twice"],
)
async def test_malformed_json_is_refused(robot: httpx.AsyncClient, collection: Collection, body: bytes) -> None:
    response = await robot.post(URL, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "malformed_json"
    assert problem.keys() >= {"type", "title", "status", "detail", "code", "request_id"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"state": [0.1] * 6}, "/state"),
        ({"state": [0.1] * 8}, "/state"),
        ({"state": "0.1"}, "/state"),
        ({"state": [0.1, True, 0, 0, 0, 0, 0]}, "/state/1"),
        ({"state": [0.1, 0, 0, "x", 0, 0, 0]}, "/state/3"),
        ({"state": [0.1, 0, 0, None, 0, 0, 0]}, "/state/3"),
        ({"state": [1e300, 0, 0, 0, 0, 0, 0]}, "/state/0"),
        ({"instruction": 7}, "/instruction"),
        ({"instruction": "  "}, "/instruction"),
        ({"instruction": ...}, "/instruction"),
        ({"instruction": "x" * 2001}, "/instruction"),
        ({"episode": "e" * 65}, "/episode"),
        ({"robot": ["arm"]}, "/robot"),
        ({"robot": "\ufb2c" * 64}, "/robot"),  # three times as long once it is normalised
        ({"a/b~c": 1}, "/a~1b~0c"),
        ({"step": -1}, "/step"),
        ({"step": 1.5}, "/step"),
        ({"step": True}, "/step"),
        ({"deadline_ms": 0}, "/deadline_ms"),
        ({"request_id": "not-a-uuid"}, "/request_id"),
        ({"cache": "yes"}, "/cache"),
        ({"model": "nobody@9"}, "/model"),
        ({"surprise": 1}, "/surprise"),
        ({"images": []}, "/images"),
        ({"images": {"base": "aGVsbG8=", "wrist": "aGVsbG8="}}, "/images/base"),
        ({"images": {"base": "***", "wrist": "***"}}, "/images/wrist"),
        ({"images": {"base": encode(jpeg())}}, "/images/wrist"),
        ({"images": {"base": encode(jpeg()), "wrist": encode(jpeg()), "roof": encode(jpeg())}}, "/images/roof"),
        ({"images": {"base": encode(jpeg()), "wrist": encode(b"GIF89a" + bytes(64))}}, "/images/wrist"),
    ],
)
async def test_a_wrong_field_is_refused_with_a_pointer_to_it(
    robot: httpx.AsyncClient,
    collection: Collection,
    worker: InferenceWorker,
    change: dict[str, Any],
    pointer: str,
) -> None:
    response = await robot.post(URL, json=observation(collection, **change))
    assert response.status_code == 400
    assert pointer in pointers(response)


async def test_a_truncated_image_is_refused_with_a_pointer_to_it(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    whole = jpeg(size=(320, 240))
    images = {"base": encode(whole), "wrist": encode(whole[: len(whole) // 2])}
    response = await robot.post(URL, json=observation(collection, images=images))
    assert response.status_code == 400
    assert pointers(response) == ["/images/wrist"]


# --- too large: 413 ---


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be large and holds next to nothing: a decompression bomb."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(100))) + part(b"IEND", b"")


@pytest.mark.parametrize("size", [(4097, 10), (30000, 30000)])
async def test_an_image_with_too_many_pixels_is_refused_by_its_header(
    robot: httpx.AsyncClient, collection: Collection, size: tuple[int, int], version: PolicyVersion
) -> None:
    images = dict.fromkeys(collection.cameras, encode(png_header(*size)))
    response = await robot.post(URL, json=observation(collection, images=images))
    assert response.status_code == 413
    assert pointers(response) == ["/images/base"]


async def test_the_largest_image_that_is_allowed_is_answered(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4096, 4096)).save(buffer, "PNG")
    images = dict.fromkeys(collection.cameras, encode(buffer.getvalue()))
    response = await robot.post(URL, json=observation(collection, images=images))
    assert response.status_code == 200


async def test_a_body_over_eight_mebibytes_is_refused(robot: httpx.AsyncClient, collection: Collection) -> None:
    response = await robot.post(URL, content=b" " * (8 * 1024 * 1024 + 1), headers={"Content-Type": "application/json"})
    assert response.status_code == 413


# --- 415, 401, 403, 404 ---


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
async def test_a_content_type_that_is_not_spoken_is_refused(
    robot: httpx.AsyncClient, collection: Collection, content_type: str
) -> None:
    response = await robot.post(URL, content=b"{}", headers={"Content-Type": content_type})
    assert response.status_code == 415


async def test_a_compressed_body_is_refused(robot: httpx.AsyncClient, collection: Collection) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert (await robot.post(URL, content=b"\x1f\x8b", headers=headers)).status_code == 415


@pytest.mark.parametrize("authorization", ["", "Api-Key nonsense", "Api-Key vla_AAAAAAAA_" + "x" * 43, "Basic YTpi"])
async def test_without_a_valid_key_there_is_no_answer(
    robot: httpx.AsyncClient, collection: Collection, authorization: str
) -> None:
    response = await robot.post(URL, json=observation(collection), headers={"Authorization": authorization})
    assert response.status_code == 401
    assert response.json()["code"] == "not_authenticated"


async def test_a_key_without_the_scope_is_forbidden(robot: httpx.AsyncClient, collection: Collection) -> None:
    from asgiref.sync import sync_to_async

    reader = await sync_to_async(ApiKeyFactory)(scopes=["data:read"], collections=[collection])
    response = await robot.post(URL, json=observation(collection), headers={"Authorization": f"Api-Key {reader.token}"})
    assert response.status_code == 403


async def test_a_collection_that_the_key_was_not_granted_does_not_exist_for_it(robot: httpx.AsyncClient) -> None:
    from asgiref.sync import sync_to_async

    foreign = await sync_to_async(CollectionFactory)()
    response = await robot.post(URL, json=observation(foreign))
    assert response.status_code == 404
    assert (await robot.post(URL, json={**observation(foreign), "collection": "nowhere"})).status_code == 404


# --- rate limit: 429 ---


async def test_over_its_rate_a_key_is_told_when_to_come_back(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    from asgiref.sync import sync_to_async

    def limited_key() -> ApiKey:
        tier = RateLimitTier.objects.create(name="tiny", rate=0.01, burst=2)
        return ApiKeyFactory(tier=tier, collections=[collection])

    key = await sync_to_async(limited_key)()
    headers = {"Authorization": f"Api-Key {key.token}"}
    answers = [await robot.post(URL, json=observation(collection), headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].headers["ratelimit-limit"] == "2"
    assert 90 <= int(answers[2].headers["retry-after"]) <= 100


# --- idempotency ---


@pytest.mark.parametrize("make_id", [uuid7, uuid.uuid4])
async def test_the_same_request_id_gives_the_stored_answer_before_and_after_recording(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, recorder: Recorder, make_id: Any
) -> None:
    from asgiref.sync import sync_to_async

    body = observation(collection, request_id=str(make_id()))
    first = await robot.post(URL, json=body)
    again = await robot.post(URL, json=body)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers

    await sync_to_async(recorder.drain)()
    recorded = await robot.post(URL, json=body)
    assert recorded.json() == first.json()
    assert recorded.headers["idempotent-replayed"] == "true"

    engine_redis().flushdb()
    if make_id is uuid.uuid4:
        forgotten = await robot.post(URL, json=body)
        assert forgotten.json() == first.json()


async def test_the_same_request_id_with_another_body_is_a_conflict(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, recorder: Recorder
) -> None:
    from asgiref.sync import sync_to_async

    body = observation(collection, request_id=str(uuid.uuid4()))
    await robot.post(URL, json=body)
    other = {**body, "instruction": "something else"}
    assert (await robot.post(URL, json=other)).status_code == 409
    await sync_to_async(recorder.drain)()
    engine_redis().flushdb()
    assert (await robot.post(URL, json=other)).status_code == 409


async def test_two_at_once_with_the_same_request_id_get_one_answer(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, recorder: Recorder
) -> None:
    from asgiref.sync import sync_to_async

    body = observation(collection, request_id=str(uuid7()))
    first, second = await asyncio.gather(robot.post(URL, json=body), robot.post(URL, json=body))
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    await sync_to_async(recorder.drain)()
    assert await InferenceResult.objects.acount() == 1


# --- overload, open circuit, deadline ---


async def test_a_full_queue_is_answered_at_once(
    robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion, settings: Any
) -> None:
    settings.INFERENCE = {**settings.INFERENCE, "MAX_QUEUE": 1}
    engine_redis().xadd(keys.queue(version.pk), {"probe": "0"})
    await robot.post(URL, json=observation(collection, deadline_ms=1))  # connects
    started = time.perf_counter()
    response = await robot.post(URL, json=observation(collection))
    elapsed_ms = (time.perf_counter() - started) * 1000
    assert response.status_code == 503
    assert response.json()["code"] == "overloaded"
    assert int(response.headers["retry-after"]) >= 1
    assert elapsed_ms < 500  # the queue's own time is measured by the benchmark; this is no wait for a deadline


async def test_a_recorder_far_behind_refuses_new_observations(
    robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion, settings: Any
) -> None:
    engine_redis().set(keys.backlog(), settings.INFERENCE["RECORDER_BACKLOG_BYTES"])
    response = await robot.post(URL, json=observation(collection))
    assert response.status_code == 503
    assert response.json()["code"] == "recorder_behind"


async def test_an_open_circuit_is_answered_at_once(
    robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion
) -> None:
    engine_redis().hset(keys.circuit(version.pk), "until", int(time.time() * 1000) + 60_000)
    response = await robot.post(URL, json=observation(collection))
    assert response.status_code == 503
    assert response.json()["code"] == "circuit_open"
    assert 50 <= int(response.headers["retry-after"]) <= 60


async def test_a_deadline_that_passes_is_told_and_the_request_leaves_the_queue(
    robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion
) -> None:
    body = observation(collection, deadline_ms=30, request_id=str(uuid7()))
    response = await robot.post(URL, json=body)
    assert response.status_code == 504
    assert engine_redis().xlen(keys.queue(version.pk)) == 0
    assert not engine_redis().exists(keys.answer(uuid.UUID(body["request_id"])))


async def test_without_an_active_policy_the_answer_says_so(robot: httpx.AsyncClient, collection: Collection) -> None:
    response = await robot.post(URL, json=observation(collection))
    assert response.status_code == 503
    assert response.json()["code"] == "no_active_policy"
