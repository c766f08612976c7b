from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from inference.exceptions import PolicyConfigurationError, PolicyError, PolicyLoadError, PolicyOutputError
from inference.policies.openpi import OpenpiPolicy
from tests.inference.policies import openpi_server
from tests.inference.policies.observations import observation_for
from vla_project.launcher.ports import free_port

OPTIONS = {"url": f"ws://127.0.0.1:{openpi_server.PORT}", "cameras": "base", "state_size": 7, "horizon": 4}


@pytest.fixture
def policy() -> Iterator[OpenpiPolicy]:
    with openpi_server.running():
        made = OpenpiPolicy.from_options(OPTIONS)
        made.load()
        yield made
        made.close()


def test_the_servers_chunk_is_cut_to_the_collections_horizon(policy: OpenpiPolicy) -> None:
    observation = observation_for(policy.info)

    (chunk,) = policy.infer([observation])

    expected = openpi_server.chunk_for(
        {"observation/base": observation.images["base"], "observation/state": observation.state}
    )
    np.testing.assert_allclose(chunk.actions, expected[:4], rtol=1e-6)


def test_the_servers_own_error_is_told_in_one_line(policy: OpenpiPolicy) -> None:
    with pytest.raises(PolicyError, match=r"ValueError: no such task$"):
        policy.infer([observation_for(policy.info, instruction="fail")])


def test_a_connection_that_was_lost_is_made_again(policy: OpenpiPolicy) -> None:
    with pytest.raises(PolicyError, match="does not answer"):
        policy.infer([observation_for(policy.info, instruction="leave")])

    assert len(policy.infer([observation_for(policy.info)])) == 1


def test_a_chunk_of_another_shape_is_refused() -> None:
    with openpi_server.running():
        policy = OpenpiPolicy.from_options({**OPTIONS, "horizon": 11})
        policy.load()
        with pytest.raises(PolicyOutputError, match=r"\(10, 7\), not \(11, 7\)"):
            policy.infer([observation_for(policy.info)])
        policy.close()


def test_where_nobody_listens_loading_says_so() -> None:
    policy = OpenpiPolicy.from_options({**OPTIONS, "url": f"ws://127.0.0.1:{free_port()}"})

    with pytest.raises(PolicyLoadError, match="No openpi server answers at ws://"):
        policy.load()


@pytest.mark.parametrize(
    "changes", [{"url": "http://gpu-box"}, {"url": None}, {"image_keys": "a,b"}, {"timeout_s": "soon"}]
)
def test_a_wrong_option_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyConfigurationError):
        OpenpiPolicy.from_options({**OPTIONS, **changes})
