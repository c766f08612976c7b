"""``/ws/policy/{slug}``: openpi's protocol, against the whole application and a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async

from accounts.models import ApiKey, RateLimitTier
from accounts.services import revoke_api_key
from collections_app.models import Collection
from inference.engine.gateway import gateway
from inference.engine.worker import InferenceWorker
from inference.models import InferenceResult, PolicyVersion
from inference.recorder import Recorder
from tests.factories import ApiKeyFactory, CollectionFactory
from tests.inference.robot_api.openpi_client import pack, unpack
from tests.inference.sockets import Socket

Connect = Callable[..., Socket]
PICTURE = np.random.default_rng(7).integers(0, 255, (48, 64, 3), np.uint8)
JOINTS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], np.float32)

LIBERO = {"cameras": ["image", "wrist_image"]}
DROID = {
    "cameras": ["exterior_image_1_left", "wrist_image_left"],
    "action_space__state_names": [*(f"joint_{i}" for i in range(7)), "gripper"],
}
ALOHA_CAMERAS = ["cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist"]
ALOHA = {
    "cameras": ALOHA_CAMERAS,
    "action_space__state_names": [f"joint_{i}" for i in range(14)],
    "action_space__dimensions": [(f"joint_{i}", "rad", "joint", -3.0, 3.0) for i in range(14)],
}
OWN_NAMES = {
    "observation_mapping": {
        "instruction": "task",
        "state": ["arm", "hand"],
        "cameras": {"base": "front/rgb", "wrist": "gripper/rgb"},
    }
}


@pytest.fixture
def collection(request: pytest.FixtureRequest, transactional_db: None) -> Collection:
    """As the test's parameter says; two cameras and seven joints otherwise."""
    return CollectionFactory(**getattr(request, "param", {}))


@pytest.fixture
async def connect(collection: Collection, key: ApiKey) -> AsyncIterator[Connect]:
    """Makes sockets to the collection with its key, and closes them."""
    made: list[Socket] = []

    def socket(slug: str | None = None, *, token: str | None = None) -> Socket:
        made.append(Socket(f"/ws/policy/{slug or collection.slug}", authorization=f"Api-Key {token or key.token}"))
        return made[-1]

    yield socket
    for one in made:
        await one.disconnect()
    await gateway().close()


def observation(**changes: Any) -> dict[str, Any]:
    """What a robot of the plain collection sends."""
    body = {
        "observation/base": PICTURE,
        "observation/wrist": PICTURE,
        "observation/state": JOINTS,
        "prompt": "pick up the red cube",
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not ...}


async def ask(socket: Socket, **changes: Any) -> dict[str, Any]:
    await socket.send_to(bytes_data=pack(observation(**changes)))
    answer: dict[str, Any] = unpack(await socket.receive_bytes())
    return answer


async def test_the_first_frame_describes_the_policy(
    connect: Connect, collection: Collection, version: PolicyVersion
) -> None:
    socket = connect()
    await socket.open()
    metadata = unpack(await socket.receive_bytes())
    assert [dimension["name"] for dimension in metadata["action_space"]][-1] == "gripper"
    assert (metadata["action_horizon"], metadata["action_dim"]) == (8, 7)
    assert metadata["cameras"] == collection.cameras
    assert metadata["state_size"] == 7
    assert metadata["rate_hz"] == 20.0
    assert metadata["policy_version"] == str(version)


async def test_an_observation_is_answered_with_a_chunk_and_its_timing(
    connect: Connect, worker: InferenceWorker
) -> None:
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    first, second = await ask(socket), await ask(socket)
    for answer in (first, second):
        assert (answer["actions"].shape, answer["actions"].dtype) == ((8, 7), np.float32)
        assert isinstance(answer["server_timing"]["infer_ms"], float)
        assert isinstance(answer["policy_timing"]["infer_ms"], float)
    assert "prev_total_ms" not in first["server_timing"]
    assert isinstance(second["server_timing"]["prev_total_ms"], float)
    assert first["request_id"] != second["request_id"]
    np.testing.assert_array_equal(first["actions"], second["actions"])


async def test_every_array_of_an_answer_can_be_cut_along_the_horizon(connect: Connect, worker: InferenceWorker) -> None:
    """openpi's ActionChunkBroker takes ``x[step]`` of every array that it finds, however deep."""

    def arrays(value: Any) -> list[np.ndarray]:
        if isinstance(value, dict):
            return [array for inner in value.values() for array in arrays(inner)]
        return [value] if isinstance(value, np.ndarray) else []

    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    found = arrays(await ask(socket))
    assert found
    assert {len(array) for array in found} == {8}


CHW = PICTURE.transpose(2, 0, 1)
PROMPT = {"prompt": "pick up the red cube"}


@pytest.mark.parametrize(
    ("collection", "sent", "state"),
    [
        (
            LIBERO,
            {"observation/image": PICTURE, "observation/wrist_image": PICTURE, "observation/state": JOINTS, **PROMPT},
            JOINTS.tolist(),
        ),
        (
            DROID,
            {
                "observation/exterior_image_1_left": PICTURE,
                "observation/wrist_image_left": PICTURE,
                "observation/gripper_position": np.array([0.9], np.float64),
                "observation/joint_position": JOINTS,
                **PROMPT,
            },
            [*JOINTS.tolist(), 0.9],
        ),
        (
            ALOHA,
            {"state": np.arange(14) / 10, "images": dict.fromkeys(ALOHA_CAMERAS, CHW), **PROMPT},
            (np.arange(14) / 10).tolist(),
        ),
        (
            OWN_NAMES,
            {
                "front/rgb": PICTURE,
                "gripper/rgb": CHW,
                "hand": np.array([0.7], np.float32),
                "arm": JOINTS[:6],
                "task": "pick up the red cube",
            },
            JOINTS.tolist(),
        ),
    ],
    indirect=["collection"],
    ids=["LIBERO", "DROID", "ALOHA", "own names"],
)
async def test_the_usual_observations_and_a_mapped_one_are_understood(
    connect: Connect,
    collection: Collection,
    worker: InferenceWorker,
    recorder: Recorder,
    sent: dict[str, Any],
    state: list[float],
) -> None:
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    await socket.send_to(bytes_data=pack({**sent, "episode": "e7", "step": np.int64(4), "robot": "arm-01"}))
    answer = unpack(await socket.receive_bytes())
    assert answer["actions"].shape == (8, await collection.action_space.dimensions.acount())

    await sync_to_async(recorder.drain)()
    recorded = await InferenceResult.objects.select_related("robot", "episode").aget()
    assert recorded.instruction == "pick up the red cube"
    assert recorded.input_state == pytest.approx(state)
    assert sorted(recorded.images) == sorted(collection.cameras)
    assert (recorded.robot.name, recorded.episode.external_id, recorded.step) == ("arm-01", "e7", 4)


async def test_channels_first_and_channels_last_are_the_same_picture(connect: Connect, worker: InferenceWorker) -> None:
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    last, first = await ask(socket), await ask(socket, **{"observation/base": CHW, "observation/wrist": CHW})
    np.testing.assert_array_equal(first["actions"], last["actions"])


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b"\xc1", "malformed_msgpack"),
        (pack(observation(**{"observation/state": ...})), "/state"),
        (pack(observation(**{"observation/state": JOINTS[:6]})), "/state"),
        (pack(observation(**{"observation/state": np.full(7, np.nan)})), "/state/0"),
        (pack(observation(**{"observation/state": ["a"] * 7})), "/state"),
        (pack(observation(prompt=...)), "/instruction"),
        (pack(observation(**{"observation/wrist": ...})), "/images/wrist"),
        (pack(observation(**{"observation/wrist": PICTURE / 255})), "/images/wrist"),
        (pack(observation(**{"observation/wrist": np.zeros((0, 4, 3), np.uint8)})), "/images/wrist"),
        (pack(observation(**{"observation/wrist": np.zeros((5000, 1, 3), np.uint8)})), "/images/wrist"),
        (pack(observation(model="nobody@9")), "/model"),
    ],
    ids=[
        *("not msgpack", "no state", "short state", "NaN", "text for numbers", "no prompt", "no camera"),
        *("floats for pixels", "empty picture", "huge picture", "unknown model"),
    ],
)
async def test_a_bad_observation_is_told_and_the_connection_goes_on(
    connect: Connect, worker: InferenceWorker, frame: bytes, told: str
) -> None:
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    await socket.send_to(bytes_data=frame)
    complaint = await socket.receive_text()
    assert told in complaint
    assert "Traceback" not in complaint
    assert (await ask(socket))["actions"].shape == (8, 7)


async def test_text_is_not_an_observation(connect: Connect, worker: InferenceWorker) -> None:
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    await socket.send_to(text_data="{}")
    assert "msgpack" in await socket.receive_text()
    assert (await ask(socket))["actions"].shape == (8, 7)


UNSAFE = {
    "safety_mode": "reject",
    "action_space__dimensions": [(f"d{i}", "m", "position", 0.5, 1.0) for i in range(7)],
}


@pytest.mark.parametrize("collection", [UNSAFE], indirect=True)
async def test_a_rejected_chunk_is_no_chunk(connect: Connect, worker: InferenceWorker, recorder: Recorder) -> None:
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    await socket.send_to(bytes_data=pack(observation()))
    assert (await socket.receive_text()).startswith("chunk_rejected")
    await sync_to_async(recorder.drain)()
    recorded = await InferenceResult.objects.aget()
    assert (recorded.safety_verdict, recorded.output_actions) == ("rejected", [])


async def test_over_its_rate_a_robot_is_told_and_stays_connected(
    connect: Connect, collection: Collection, worker: InferenceWorker
) -> None:
    def limited() -> ApiKey:
        tier = RateLimitTier.objects.create(name="tiny", rate=0.01, burst=1)
        return ApiKeyFactory(tier=tier, collections=[collection])

    socket = connect(token=(await sync_to_async(limited)()).token)
    await socket.open()
    await socket.receive_bytes()
    assert "actions" in await ask(socket)
    await socket.send_to(bytes_data=pack(observation()))
    assert (await socket.receive_text()).startswith("rate_limited")
    await socket.send_to(text_data="still there?")
    assert await socket.receive_text()


# --- who may connect ---


@pytest.mark.parametrize("token", ["nonsense", "vla_AAAAAAAA_" + "x" * 43])
async def test_a_wrong_key_is_closed_with_4401(connect: Connect, token: str) -> None:
    socket = connect(token=token)
    await socket.open()
    assert await socket.close_code() == 4401


async def test_a_collection_that_the_key_was_not_granted_is_closed_with_4404(connect: Connect) -> None:
    foreign = await sync_to_async(CollectionFactory)()
    for slug in (foreign.slug, "nowhere"):
        socket = connect(slug)
        await socket.open()
        assert await socket.close_code() == 4404


async def test_a_key_without_the_scope_is_closed_with_4403(connect: Connect, collection: Collection) -> None:
    reader = await sync_to_async(ApiKeyFactory)(scopes=["data:read"], collections=[collection])
    socket = connect(token=reader.token)
    await socket.open()
    assert await socket.close_code() == 4403


async def test_a_key_that_is_revoked_while_connected_gets_no_more_answers(
    connect: Connect, key: ApiKey, worker: InferenceWorker
) -> None:
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    await ask(socket)
    await sync_to_async(revoke_api_key)(api_key=key)
    await socket.send_to(bytes_data=pack(observation()))
    assert await socket.close_code() == 4401


# --- a busy model ---


class TestWhileTheModelIsBusy:
    @pytest.fixture
    def policy_options(self) -> dict[str, Any]:
        return {"base_ms": 400, "per_sample_ms": 0}

    async def test_the_socket_goes_on_reading(self, connect: Connect, worker: InferenceWorker) -> None:
        """So its server answers pings, and a client with a keepalive of its own is not lost."""
        socket = connect()
        await socket.open()
        await socket.receive_bytes()
        await socket.send_to(bytes_data=pack(observation()))
        await socket.send_to(text_data="are you there?")
        assert "msgpack" in await socket.receive_text(timeout=0.3)
        assert "actions" in unpack(await socket.receive_bytes())

    async def test_a_robot_that_does_not_wait_for_its_answers_is_closed(
        self, connect: Connect, worker: InferenceWorker
    ) -> None:
        socket = connect()
        await socket.open()
        await socket.receive_bytes()
        for _ in range(12):
            await socket.send_to(bytes_data=pack(observation()))
        assert await socket.close_code() == 1008

    async def test_a_robot_that_leaves_makes_room_in_the_queue(
        self, connect: Connect, worker: InferenceWorker, recorder: Recorder
    ) -> None:
        socket = connect()
        await socket.open()
        await socket.receive_bytes()
        for _ in range(3):
            await socket.send_to(bytes_data=pack(observation()))
        await socket.disconnect()
        await asyncio.to_thread(worker.stop)
        await sync_to_async(recorder.drain)()
        assert await InferenceResult.objects.acount() <= 1


async def test_a_frame_beyond_the_limit_is_closed(connect: Connect, version: PolicyVersion, settings: Any) -> None:
    settings.INFERENCE = {**settings.INFERENCE, "MAX_BODY_BYTES": 1000}
    socket = connect()
    await socket.open()
    await socket.receive_bytes()
    await socket.send_to(bytes_data=pack(observation()))
    assert await socket.close_code() == 1009
