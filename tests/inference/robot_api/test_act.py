"""``POST /act``: OpenVLA's and OpenVLA-OFT's dialect, as their clients with json_numpy speak it."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from asgiref.sync import sync_to_async

from accounts import tokens
from accounts.choices import Role
from accounts.models import ApiKey
from collections_app.models import Collection
from core import object_store
from core.identifiers import uuid7
from inference.engine.worker import InferenceWorker
from inference.images import decode
from inference.models import InferenceResult, PolicyVersion
from inference.recorder import Recorder
from tests.factories import ApiKeyFactory, CollectionFactory, MembershipFactory


def numpy_json(array: np.ndarray) -> dict[str, Any]:
    """An array as json_numpy writes it."""
    return {
        "__numpy__": base64.b64encode(np.ascontiguousarray(array).data).decode(),
        "dtype": np.lib.format.dtype_to_descr(array.dtype),
        "shape": array.shape,
    }


def array_of(value: dict[str, Any]) -> np.ndarray:
    """What json_numpy reads."""
    return np.frombuffer(base64.b64decode(value["__numpy__"]), np.dtype(value["dtype"])).reshape(value["shape"])


def plain(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((32, 40, 3), color, np.uint8)


SCENE, LEFT, RIGHT = plain((200, 30, 30)), plain((30, 200, 30)), plain((30, 30, 200))
STATE = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], np.float32)
OPENVLA = {"image": numpy_json(SCENE), "instruction": "pick up the red cube", "unnorm_key": "bridge_orig"}
OFT = {
    "full_image": numpy_json(SCENE),
    "wrist_image": numpy_json(LEFT),
    "state": numpy_json(STATE),
    "instruction": "pick up the red cube",
}


async def test_openvla_gets_one_action_of_double_precision(robot: httpx.AsyncClient, worker: InferenceWorker) -> None:
    response = await robot.post("/act", json=OPENVLA)
    assert response.status_code == 200
    action = array_of(response.json())
    assert (action.shape, action.dtype) == ((7,), np.float64)
    assert np.isfinite(action).all()


async def test_oft_gets_a_list_with_one_action_a_step(robot: httpx.AsyncClient, worker: InferenceWorker) -> None:
    response = await robot.post("/act", json=OFT)
    assert response.status_code == 200
    actions = [array_of(action) for action in response.json()]
    assert [(action.shape, action.dtype) for action in actions] == [((7,), np.float64)] * 8


@pytest.mark.parametrize("payload", [OPENVLA, OFT], ids=["OpenVLA", "OFT"])
async def test_a_doubly_encoded_request_is_answered_with_text_that_holds_json(
    robot: httpx.AsyncClient, worker: InferenceWorker, payload: dict[str, Any]
) -> None:
    once = (await robot.post("/act", json=payload)).json()
    twice = (await robot.post("/act", json={"encoded": json.dumps(payload)})).json()
    assert isinstance(twice, str)
    assert json.loads(twice) == once


async def test_it_is_recorded_with_its_wrist_images_in_the_order_sent(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, recorder: Recorder
) -> None:
    collection.cameras = ["scene", "first", "second", "third"]
    await collection.asave()
    sent = {**OFT, "right_wrist": numpy_json(RIGHT), "robot": "arm-01", "episode": "e1", "step": 2}
    response = await robot.post("/act", json=sent)
    assert response.status_code == 200

    await sync_to_async(recorder.drain)()
    recorded = await InferenceResult.objects.select_related("robot").aget()
    assert str(recorded.request_id) == response.headers["x-inference-request-id"]
    assert recorded.input_state == pytest.approx(STATE.tolist())
    np.testing.assert_allclose(recorded.output_actions, [array_of(action) for action in response.json()])
    assert recorded.robot.name == "arm-01"
    seen = {camera: decode(object_store.get(key))[4, 4] for camera, key in recorded.images.items()}
    for camera, color in {"scene": SCENE, "first": LEFT, "second": RIGHT}.items():
        np.testing.assert_allclose(seen[camera], color[0, 0], atol=6)
    np.testing.assert_array_equal(seen["third"], 0)


async def test_a_repeated_request_id_gives_the_stored_answer(robot: httpx.AsyncClient, worker: InferenceWorker) -> None:
    body = {**OFT, "request_id": str(uuid7())}
    first, again = await robot.post("/act", json=body), await robot.post("/act", json=body)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"image": ...}, "/image"),
        ({"image": {"__numpy__": "***", "dtype": "|u1", "shape": [1]}}, "/image"),
        ({"image": {**numpy_json(SCENE), "shape": [1, 1, 3]}}, "/image"),
        ({"image": {**numpy_json(SCENE), "shape": [-1, -3840]}}, "/image"),
        ({"image": {**numpy_json(SCENE), "dtype": "|O"}}, "/image"),
        ({"image": {"__numpy__": ""}}, "/image"),
        ({"image": [[1, 2], [3, 4]]}, "/images/base"),
        ({"image": numpy_json(SCENE / 255)}, "/images/base"),
        ({"instruction": ...}, "/instruction"),
        ({"instruction": numpy_json(STATE)}, "/instruction"),
        ({"state": numpy_json(STATE[:3])}, "/state"),
        ({"state": numpy_json(np.full(7, np.nan))}, "/state/0"),
        ({"request_id": numpy_json(STATE)}, "/request_id"),
        ({"cache": numpy_json(STATE)}, "/cache"),
    ],
)
async def test_a_wrong_field_is_refused_with_a_pointer_to_it(
    robot: httpx.AsyncClient, version: PolicyVersion, change: dict[str, Any], pointer: str
) -> None:
    body = {name: value for name, value in {**OPENVLA, **change}.items() if value is not ...}
    response = await robot.post("/act", json=body)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in response.json()["errors"]]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"encoded": "{"}', b'{"encoded": "[1]"}'])
async def test_malformed_json_is_refused(robot: httpx.AsyncClient, version: PolicyVersion, body: bytes) -> None:
    response = await robot.post("/act", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "malformed_json")


async def test_it_asks_for_a_key_and_speaks_json_only(robot: httpx.AsyncClient, version: PolicyVersion) -> None:
    assert (await robot.post("/act", json=OPENVLA, headers={"Authorization": ""})).status_code == 401
    assert (await robot.post("/act", content=b"x", headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await robot.get("/act")).status_code in (404, 405)


async def test_a_key_of_several_collections_must_name_one(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    def key_of_two() -> ApiKey:
        return ApiKeyFactory(collections=[collection, CollectionFactory()])

    headers = {"Authorization": f"Api-Key {(await sync_to_async(key_of_two)()).token}"}
    unnamed = await robot.post("/act", json=OPENVLA, headers=headers)
    assert (unnamed.status_code, unnamed.json()["errors"][0]["pointer"]) == (400, "/collection")
    named = await robot.post("/act", json={**OPENVLA, "collection": collection.slug}, headers=headers)
    assert named.status_code == 200
    foreign = await sync_to_async(CollectionFactory)()
    hidden = await robot.post("/act", json={**OPENVLA, "collection": foreign.slug}, headers=headers)
    assert hidden.status_code == 404


async def test_a_person_who_manages_one_collection_need_not_name_it(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    def token_of_manager() -> str:
        manager = MembershipFactory(collection=collection, role=Role.MANAGER).user
        return tokens.issue(user=manager, ip_address=None).access

    headers = {"Authorization": f"Bearer {await sync_to_async(token_of_manager)()}"}
    assert (await robot.post("/act", json=OPENVLA, headers=headers)).status_code == 200


async def test_a_rejected_chunk_is_told_as_a_problem(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    collection.safety_mode = "reject"
    await collection.asave()
    await collection.action_space.dimensions.aupdate(low=0.5, high=1.0)
    response = await robot.post("/act", json=OFT)
    assert (response.status_code, response.json()["code"]) == (422, "chunk_rejected")
