"""What holds for every backend. A new backend adds one line to ``BACKENDS``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.exceptions import PolicyConfigurationError
from inference.policies.base import Policy
from inference.policies.handler import POLICY_BACKENDS, create_policy
from tests.inference.policies import openpi_server
from tests.inference.policies.observations import observation_for

BACKENDS: dict[str, dict[str, Any]] = {
    "compact": {"device": "cpu"},
    "simulated": {},
    "python": {"path": "tests.inference.policies.users_policies:HoldStill"},
    "openpi": {"url": f"ws://127.0.0.1:{openpi_server.PORT}", "cameras": "base,wrist", "state_size": 7, "horizon": 4},
    "replay": {"path": str(Path(__file__).with_name("episode.jsonl")), "state_size": 2, "action_names": "x,y,grip"},
    "transformers": {"checkpoint": "written by the fixture", "device": "cpu", "steps": 2, "state_size": 7},
    "lerobot": {"checkpoint": "written by the fixture", "device": "cpu", "horizon": 5},
}
HEAVY = {"compact", "transformers", "lerobot"}


@pytest.fixture(scope="module", autouse=True)
def running_openpi_server() -> Iterator[None]:
    with openpi_server.running():
        yield


def checkpoint_for(backend: str, folder: Path) -> dict[str, Any]:
    """A tiny checkpoint with random weights, for backends that have none of their own."""
    if backend == "transformers":
        from tests.inference.policies import tiny_checkpoints

        return {"checkpoint": str(tiny_checkpoints.write_llava(folder / "llava"))}
    if backend == "lerobot":
        pytest.importorskip("lerobot", reason="no lerobot: see requirements/lerobot.txt")
        from tests.inference.policies.lerobot import tiny_policies

        return {"checkpoint": str(tiny_policies.write_diffusion(folder / "diffusion"))}
    return {}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.ml if name in HEAVY else ()) for name in BACKENDS],
)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Policy]:
    backend: str = request.param
    checkpoint = checkpoint_for(backend, tmp_path_factory.mktemp(backend))
    policy = create_policy(backend, {**BACKENDS[backend], **checkpoint})
    policy.load()
    yield policy
    policy.close()


def test_every_backend_is_under_this_contract() -> None:
    assert set(BACKENDS) == set(POLICY_BACKENDS)


def test_info_is_known_after_load(policy: Policy) -> None:
    assert policy.info.name
    assert policy.info.cameras
    assert policy.info.state_size > 0
    assert len(set(policy.info.action_names)) == len(policy.info.action_names) > 0
    assert policy.info.horizon > 0


@pytest.mark.parametrize("size", [0, 1, 5])
def test_each_observation_gets_one_finite_chunk_of_the_shape_in_info(policy: Policy, size: int) -> None:
    chunks = policy.infer([observation_for(policy.info, seed=seed) for seed in range(size)])

    assert len(chunks) == size
    for chunk in chunks:
        assert chunk.actions.shape == (policy.info.horizon, len(policy.info.action_names))
        assert chunk.actions.dtype == np.float32
        assert np.isfinite(chunk.actions).all()


def test_an_answer_does_not_depend_on_its_neighbours_in_the_batch(policy: Policy) -> None:
    observations = [observation_for(policy.info, seed=seed) for seed in range(4)]

    together = policy.infer(observations)
    alone = [policy.infer([observation])[0] for observation in observations]

    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.actions, other.actions, atol=1e-4)


def test_the_same_observation_gets_the_same_answer(policy: Policy) -> None:
    observation = observation_for(policy.info)

    first, second = policy.infer([observation]), policy.infer([observation])

    np.testing.assert_array_equal(first[0].actions, second[0].actions)


def test_an_observation_is_left_as_it_was(policy: Policy) -> None:
    observation, copy = observation_for(policy.info), observation_for(policy.info)

    policy.infer([observation])

    np.testing.assert_array_equal(observation.state, copy.state)
    for camera in policy.info.cameras:
        np.testing.assert_array_equal(observation.images[camera], copy.images[camera])


@pytest.mark.parametrize("backend", BACKENDS)
def test_close_may_be_called_twice_and_before_load(backend: str) -> None:
    policy = create_policy(backend, BACKENDS[backend])

    policy.close()
    policy.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_unknown_option_is_refused_by_name(backend: str) -> None:
    with pytest.raises(PolicyConfigurationError, match="sped"):
        create_policy(backend, {**BACKENDS[backend], "sped": "fast"})
