"""A dimension's workspace box needs an entry of the state to hold for."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from collections_app.services import create_action_space

pytestmark = pytest.mark.django_db


def made(**dimension: Any) -> Any:
    return create_action_space(
        name="hand", control_rate_hz=10, state_names=["x", "y"], dimensions=[{"name": "dx", **dimension}]
    )


def test_a_box_is_kept_with_its_dimension() -> None:
    kept = made(workspace_state="x", workspace_low=-0.2, workspace_high=0.4).dimensions.get()
    assert (kept.workspace_state, kept.workspace_low, kept.workspace_high) == ("x", -0.2, 0.4)


@pytest.mark.parametrize(
    ("dimension", "field"),
    [
        ({"workspace_state": "z", "workspace_low": 0.0}, "dimensions/0/workspace_state"),
        ({"workspace_low": 0.0}, "dimensions/0"),
        ({"workspace_state": "x", "workspace_low": 0.4, "workspace_high": 0.2}, "dimensions/0"),
    ],
)
def test_a_box_that_means_nothing_is_refused(dimension: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        made(**dimension)
    assert list(refused.value.message_dict) == [field]
