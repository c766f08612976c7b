"""The benchmark's collection, policy versions and keys, made beside a running system; prints one API key a line.

Run by the benchmarks with the system's environment: ``python -m benchmarks.collection 64``.
"""

from __future__ import annotations

import os
import sys

from benchmarks.observations import CAMERAS, STATE_SIZE

ACTIONS = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")
# The simulated accelerator: a batch of n takes base + n × per-sample milliseconds, slept.
BASE_MS, PER_SAMPLE_MS = 20, 1
ACCELERATOR, INSTANT = "accelerator@1", "instant@1"


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vla_project.settings.local")
    import django

    django.setup()
    for token in create(robots=int(sys.argv[1])):
        sys.stdout.write(token + "\n")


def create(*, robots: int) -> list[str]:
    """A collection that clamps, two simulated versions, and a key of the tier ``high`` for each robot."""
    from accounts.models import RateLimitTier
    from accounts.services import create_api_key
    from collections_app.services import create_action_space, create_collection, grant_api_key
    from inference.services import deploy, register_version

    space = create_action_space(
        name="bench",
        control_rate_hz=20,
        state_names=[f"joint_{number}" for number in range(STATE_SIZE)],
        dimensions=[{"name": name, "low": -1, "high": 1, "max_step_change": 0.5} for name in ACTIONS],
    )
    collection = create_collection(
        slug="bench", name="Benchmark", action_space=space, cameras=list(CAMERAS), safety_mode="clamp"
    )
    for name, base, per_sample in ((ACCELERATOR, BASE_MS, PER_SAMPLE_MS), (INSTANT, 0, 0)):
        policy, _, version_name = name.partition("@")
        version = register_version(
            name=policy,
            version=version_name,
            backend="simulated",
            options={"base_ms": base, "per_sample_ms": per_sample},
        )
        deploy(policy_version=version, collection=collection)
    tier = RateLimitTier.objects.get(name="high")
    tokens = []
    for number in range(robots):
        api_key, token = create_api_key(name=f"arm-{number}", scopes=["inference:write"], tier=tier)
        grant_api_key(api_key=api_key, collection=collection)
        tokens.append(token)
    return tokens


if __name__ == "__main__":
    main()
