from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference.exceptions import PolicyConfigurationError
from inference.policies.handler import PolicyBackends, create_policy
from inference.policies.simulated import SimulatedPolicy

SIMULATED = {"simulated": "inference.policies.simulated.SimulatedPolicy"}


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        PolicyConfigurationError,
        match=r"'tensorflow'.*compact, lerobot, openpi, python, replay, simulated, transformers",
    ):
        create_policy("tensorflow", {})


def test_each_call_creates_a_policy_of_its_own() -> None:
    assert create_policy("simulated", {}) is not create_policy("simulated", {})


def test_threads_that_ask_at_once_get_the_same_class() -> None:
    backends = PolicyBackends(SIMULATED)
    together = threading.Barrier(8)

    def ask() -> type:
        together.wait(timeout=10)
        return backends["simulated"]

    with ThreadPoolExecutor(8) as pool:
        classes = {future.result() for future in [pool.submit(ask) for _ in range(8)]}

    assert classes == {SimulatedPolicy}
