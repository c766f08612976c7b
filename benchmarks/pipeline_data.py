"""Collections for the benchmarks that need no robot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections_app.models import Collection

ACTIONS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")


def create_collection(slug: str) -> Collection:
    """A collection of one camera, seven state entries and seven actions without limits; Django is set up."""
    from collections_app import services

    space = services.create_action_space(
        name=f"arm of {slug}",
        control_rate_hz=20.0,
        state_names=[f"joint_{number}" for number in range(7)],
        dimensions=[{"name": name} for name in ACTIONS],
    )
    return services.create_collection(slug=slug, name=slug, action_space=space, cameras=["base"])
