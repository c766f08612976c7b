from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from inference.exceptions import AcceleratorOutOfMemoryError, PolicyConfigurationError, PolicyError
from inference.policies.handler import create_policy
from tests.inference.policies.observations import observation_for


def test_a_batch_takes_base_plus_per_sample_milliseconds() -> None:
    policy = create_policy("simulated", {"base_ms": "20", "per_sample_ms": "5"})
    batch = [observation_for(policy.info)] * 4

    started = time.perf_counter()
    policy.infer(batch)
    elapsed_ms = 1000 * (time.perf_counter() - started)

    # It sleeps no less than asked; how much more is the machine's load.
    assert 40 <= elapsed_ms < 40 + 60


def test_different_observations_have_different_answers() -> None:
    policy = create_policy("simulated", {})
    first, second = (observation_for(policy.info, seed=seed) for seed in (1, 2))

    answers = policy.infer([first, second])

    assert not np.allclose(answers[0].actions, answers[1].actions)


def test_answers_depend_on_the_images() -> None:
    policy = create_policy("simulated", {"cameras": "base"})
    seen = observation_for(policy.info)
    black = type(seen)({"base": np.zeros_like(seen.images["base"])}, seen.state, seen.instruction)

    answers = policy.infer([seen, black])

    assert not np.allclose(answers[0].actions, answers[1].actions)


def test_another_seed_gives_other_answers() -> None:
    one, other = (create_policy("simulated", {"seed": seed}) for seed in (1, 2))
    observation = observation_for(one.info)

    assert not np.allclose(one.infer([observation])[0].actions, other.infer([observation])[0].actions)


def test_it_takes_the_description_of_a_collection() -> None:
    info = create_policy(
        "simulated",
        {
            "action_names": ["x", "y", "gripper"],
            "state_size": 3,
            "cameras": ["front"],
            "horizon": "4",
            "image_size": "96x128",
        },
    ).info

    assert info.action_names == ("x", "y", "gripper")
    assert (info.state_size, info.cameras, info.horizon, info.image_size) == (3, ("front",), 4, (96, 128))


def test_dimensions_without_names_get_names() -> None:
    assert create_policy("simulated", {"dimensions": 2}).info.action_names == ("action_0", "action_1")


def test_it_fails_as_often_as_it_is_told_to() -> None:
    policy = create_policy("simulated", {"fail_every": 3})
    batch = [observation_for(policy.info)]
    policy.infer(batch)
    policy.infer(batch)

    with pytest.raises(PolicyError):
        policy.infer(batch)
    assert len(policy.infer(batch)) == 1


def test_it_runs_out_of_memory_above_the_size_it_is_told() -> None:
    policy = create_policy("simulated", {"oom_above": "2"})
    observation = observation_for(policy.info)

    assert len(policy.infer([observation] * 2)) == 2
    with pytest.raises(AcceleratorOutOfMemoryError):
        policy.infer([observation] * 3)


@pytest.mark.parametrize(
    "options",
    [
        {"base_ms": "fast"},
        {"base_ms": -1},
        {"base_ms": "nan"},
        {"base_ms": True},
        {"per_sample_ms": None},
        {"horizon": 0},
        {"horizon": "2.5"},
        {"horizon": 2.0},
        {"seed": [1]},
        {"cameras": ""},
        {"cameras": ["base", "base"]},
        {"cameras": [1]},
        {"image_size": "224"},
        {"image_size": [224, 0]},
        {"action_names": "x,y", "dimensions": 3},
    ],
    ids=str,
)
def test_an_option_of_the_wrong_type_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(PolicyConfigurationError, match=next(iter(options))):
        create_policy("simulated", options)
