"""Observations of any shape, for policies under test."""

from __future__ import annotations

import numpy as np

from inference.policies.base import Observation, PolicyInfo


def observation_for(info: PolicyInfo, *, seed: int = 0, instruction: str = "pick up the red cube") -> Observation:
    """Noise in the shape that the policy wants; another seed is another observation."""
    generator = np.random.default_rng(seed)
    return Observation(
        images={camera: generator.integers(0, 256, (*info.image_size, 3), dtype=np.uint8) for camera in info.cameras},
        state=generator.normal(0.0, 0.1, info.state_size).astype(np.float32),
        instruction=instruction,
    )
