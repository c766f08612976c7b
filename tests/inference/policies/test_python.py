from __future__ import annotations

from typing import Any

import pytest

from inference.exceptions import PolicyConfigurationError, PolicyLoadError
from inference.policies.handler import create_policy

USERS = "tests.inference.policies.users_policies"


def test_other_options_go_to_the_users_class() -> None:
    assert create_policy("python", {"path": f"{USERS}:HoldStill", "horizon": 3}).info.horizon == 3


def test_a_class_that_inherits_from_policy_reads_its_options_itself() -> None:
    path = "inference.policies.simulated:SimulatedPolicy"

    assert create_policy("python", {"path": path, "dimensions": "2"}).info.action_names == ("action_0", "action_1")


def test_what_goes_wrong_in_the_users_load_is_named() -> None:
    policy = create_policy("python", {"path": f"{USERS}:Unloadable"})

    with pytest.raises(PolicyLoadError, match=r"Unloadable.*FileNotFoundError: weights.bin"):
        policy.load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs 'path'"),
        ({"path": 3}, "needs 'path'"),
        ({"path": "no_colon.Here"}, "needs 'path'"),
        ({"path": "nowhere_to_be_found:Policy"}, "cannot be imported: No module named 'nowhere_to_be_found'"),
        ({"path": f"{USERS}:Absent"}, "has no class 'Absent'"),
        ({"path": f"{USERS}:annotations"}, "has no class 'annotations'"),
        ({"path": f"{USERS}:NotAPolicy"}, "not a policy: it has no 'load'"),
        ({"path": f"{USERS}:HoldStill", "speed": 1}, "does not take these options.*speed"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_path_or_option_is_explained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyConfigurationError, match=message):
        create_policy("python", options)
