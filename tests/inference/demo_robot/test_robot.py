from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference.demo_robot import client as client_module
from inference.demo_robot import expert
from inference.demo_robot import robot as robot_module
from inference.demo_robot.client import ApiClient, ApiError
from inference.demo_robot.description import CAMERAS, HORIZON, IMAGE_SIZE, INSTRUCTIONS
from inference.demo_robot.robot import DemoRobot
from inference.demo_robot.scene import PickScene
from tests.inference.demo_robot.api import Answer, FakeApi


@pytest.fixture(scope="module")
def scene() -> Iterator[PickScene]:
    with PickScene(seed=4) as scene:
        yield scene


@pytest.fixture
def api(scene: PickScene, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """Its policy is the expert, so the robot succeeds unless a test intervenes."""
    monkeypatch.setattr(client_module, "_PAUSE_WITHOUT_ADVICE_S", 0.001)
    monkeypatch.setattr(robot_module, "_OUTCOME_PAUSE_S", 0.001)

    def act(observation: dict[str, Any]) -> list[list[float]]:
        actions: list[list[float]] = expert.plan(scene.truth(), scene.target_color, HORIZON).tolist()
        return actions

    with FakeApi(act) as api:
        yield api


@pytest.fixture
def robot(api: FakeApi, scene: PickScene) -> DemoRobot:
    return DemoRobot(
        client=ApiClient(base_url=api.url + "/", api_key="prefix.secret", attempts=3),
        scene=scene,
        collection="demo",
        name="arm-07",
        observations_per_second=1000.0,
        seed=4,
    )


def test_an_episode_sends_what_the_contract_asks_for(robot: DemoRobot, api: FakeApi) -> None:
    episode = robot.run_episode()

    assert {request.authorization for request in api.requests} == {"Api-Key prefix.secret"}
    assert [observation["step"] for observation in api.observations] == list(range(0, episode.steps, 4))
    assert len({observation["request_id"] for observation in api.observations}) == len(api.observations)
    for observation in api.observations:
        assert (observation["collection"], observation["robot"]) == ("demo", "arm-07")
        assert observation["episode"] == episode.name
        assert observation["instruction"] in INSTRUCTIONS
        assert np.isfinite(observation["state"]).all()
        assert set(observation["images"]) == set(CAMERAS)
    picture = Image.open(io.BytesIO(base64.b64decode(api.observations[0]["images"]["base"])))
    assert (picture.format, picture.size) == ("JPEG", IMAGE_SIZE[::-1])


def test_a_lifted_cube_is_reported_as_success(robot: DemoRobot, api: FakeApi) -> None:
    episode = robot.run_episode()

    assert episode.outcome == "success"
    assert api.outcomes == ["success"]
    [search] = [request.path for request in api.requests if request.method == "GET"]
    assert search == f"/api/v1/episodes?collection=demo&robot=arm-07&external_id={episode.name}"


def test_the_outcome_waits_until_the_episode_has_been_recorded(robot: DemoRobot, api: FakeApi) -> None:
    api.episode_is_unknown_times = 3

    robot.run_episode()

    assert api.outcomes == ["success"]


def test_rejected_chunks_hold_the_arm_still_until_the_episode_fails(
    robot: DemoRobot, api: FakeApi, scene: PickScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robot_module, "MAX_STEPS_PER_EPISODE", 16)
    monkeypatch.setattr(api, "act", lambda observation: [])

    episode = robot.run_episode()

    states = np.array([observation["state"] for observation in api.observations])
    assert np.ptp(states[:, :3], axis=0).max() < 0.005
    assert (episode.outcome, episode.steps) == ("failure", 16)
    assert api.outcomes == ["failure"]


@pytest.mark.parametrize("status", [429, 503, 504])
def test_an_api_that_is_busy_is_asked_again_with_the_same_request_id(
    robot: DemoRobot, api: FakeApi, status: int
) -> None:
    api.instead.append(Answer(status, {"title": "Busy"}, {"Retry-After": "0"}))

    episode = robot.run_episode()

    first, second, third, *_ = api.observations
    assert first == second
    assert second["request_id"] != third["request_id"]
    assert episode.outcome == "success"


def test_retry_after_is_honoured_within_reason(api: FakeApi) -> None:
    pauses: list[float] = []
    client = ApiClient(base_url=api.url, api_key="prefix.secret", sleep=pauses.append)
    for seconds in ("2", "3600"):
        api.instead.append(Answer(429, {"title": "Too many"}, {"Retry-After": seconds}))

    client.infer({"collection": "demo"})

    assert pauses == [0.0, 2.0, 10.0]


def test_an_api_that_stays_away_aborts_the_episode(robot: DemoRobot, api: FakeApi) -> None:
    busy = Answer(503, {"title": "Busy"}, {"Retry-After": "0"})
    first = Answer(200, {"actions": []})
    api.instead.extend([first, busy, busy, busy])

    episode = robot.run_episode()

    assert (episode.outcome, episode.steps) == ("aborted", 4)
    assert api.outcomes == ["aborted"]


def test_an_episode_without_any_answer_has_nothing_to_report(robot: DemoRobot, api: FakeApi) -> None:
    api.instead.extend([Answer(503, {"title": "Busy"}, {"Retry-After": "0"})] * 3)

    assert robot.run_episode().outcome == "aborted"
    assert not [request for request in api.requests if request.method != "POST"]


def test_a_refusal_that_no_retry_changes_stops_the_robot_with_the_apis_own_words(
    robot: DemoRobot, api: FakeApi
) -> None:
    api.instead.append(Answer(403, {"detail": "This key may not send observations."}))

    with pytest.raises(ApiError, match="403: This key may not send observations"):
        robot.run_episode()
    assert len(api.observations) == 1


def test_an_address_where_nobody_listens_aborts_the_episode(scene: PickScene, api: FakeApi) -> None:
    robot = DemoRobot(
        client=ApiClient(base_url="http://127.0.0.1:9", api_key="k", attempts=2),
        scene=scene,
        collection="demo",
        name="arm-07",
        observations_per_second=1000.0,
    )

    assert robot.run_episode().outcome == "aborted"
