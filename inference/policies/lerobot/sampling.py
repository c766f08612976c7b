"""One chunk for each row of a batch, out of LeRobot policies that were made to drive one robot.

Their ``select_action`` keeps a queue of actions, which hands one robot's to another when a batch shrinks. Here every
call starts from nothing. Policies that start from noise get the same noise for every observation: an answer depends
neither on its neighbours in the batch nor on what was asked before, and can be had again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_STATE, _IMAGES = "observation.state", "observation.images"


def sample(policy: Any, batch: dict[str, Any], *, kind: str, seed: int) -> Tensor:
    """Normalised actions ``[batch, steps, dimensions]`` for a preprocessed ``batch``."""
    match kind:
        case "diffusion":
            return _diffused(policy, batch, seed)
        case "smolvla" | "pi0":
            rows = next(value.shape[0] for value in batch.values() if isinstance(value, Tensor))
            noise = _noise(policy.config.chunk_size, policy.config.max_action_dim, rows=rows, seed=seed)
            found: Tensor = policy.predict_action_chunk(batch, noise=noise.to(policy.config.device))
            return found
        case _:
            return policy.predict_action_chunk(batch)


def _diffused(policy: Any, batch: dict[str, Any], seed: int) -> Tensor:
    """``predict_action_chunk`` reads observations that ``select_action`` left behind; these are the ones given.

    A policy that wants the last few observations gets this one as often: so it starts every episode, and a policy
    that serves many robots remembers none of them.
    """
    config = policy.config
    seen: dict[str, Tensor] = {_STATE: batch[_STATE]}
    if config.image_features:
        seen[_IMAGES] = torch.stack([batch[name] for name in config.image_features], dim=-4)
    repeated = {
        name: value.unsqueeze(1).expand(-1, config.n_obs_steps, *value.shape[1:]).contiguous()
        for name, value in seen.items()
    }
    rows = len(seen[_STATE])
    model = policy.diffusion
    actions = model.conditional_sample(
        rows,
        global_cond=model._prepare_global_conditioning(repeated),
        noise=_noise(config.horizon, config.action_feature.shape[0], rows=rows, seed=seed).to(seen[_STATE].device),
        # One for each row: the scheduler adds noise at every step, which must not depend on a row's place either.
        generator=[torch.Generator().manual_seed(seed + 1) for _ in range(rows)],
    )
    first = config.n_obs_steps - 1
    return actions[:, first : first + config.n_action_steps]


def _noise(steps: int, dimensions: int, *, rows: int, seed: int) -> Tensor:
    one = torch.randn(1, steps, dimensions, generator=torch.Generator().manual_seed(seed))
    return one.expand(rows, -1, -1).contiguous()
