"""LeRobot checkpoints with random weights, written by LeRobot itself. Import only where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from core.torchvision_operators import define_missing_operators

define_missing_operators()

from lerobot.configs.types import FeatureType, PolicyFeature  # noqa: E402
from lerobot.policies.act.modeling_act import ACTConfig, ACTPolicy  # noqa: E402
from lerobot.policies.act.processor_act import make_act_pre_post_processors  # noqa: E402
from lerobot.policies.diffusion.modeling_diffusion import DiffusionConfig, DiffusionPolicy  # noqa: E402
from lerobot.policies.diffusion.processor_diffusion import make_diffusion_pre_post_processors  # noqa: E402

STATE, ACTIONS, SIZE, CAMERAS = 7, 4, 64, ("top", "wrist")
MEAN, DEVIATION = (1.0, 2.0, 3.0, 4.0), (0.1, 0.2, 0.3, 0.4)


def write_act(folder: Path) -> Path:
    """Chunks of 12 actions."""
    torch.manual_seed(0)
    policy = ACTPolicy(
        ACTConfig(
            **_features(),
            chunk_size=12,
            n_action_steps=12,
            pretrained_backbone_weights=None,
            dim_model=32,
            n_heads=2,
            dim_feedforward=32,
            n_encoder_layers=1,
            n_vae_encoder_layers=1,
            latent_dim=4,
        )
    )
    return _written(policy, make_act_pre_post_processors(policy.config, _statistics()), folder)


def write_diffusion(folder: Path) -> Path:
    """Six actions out of a horizon of eight, from two observations, with noise added at each of ten steps."""
    torch.manual_seed(0)
    policy = DiffusionPolicy(
        DiffusionConfig(
            **_features(),
            n_obs_steps=2,
            horizon=8,
            n_action_steps=6,
            crop_shape=(56, 56),
            down_dims=(16, 32),
            n_groups=4,
            spatial_softmax_num_keypoints=4,
            diffusion_step_embed_dim=16,
            num_train_timesteps=10,
        )
    )
    return _written(policy, make_diffusion_pre_post_processors(policy.config, _statistics()), folder)


def _written(policy: Any, processors: tuple[Any, Any], folder: Path) -> Path:
    policy.save_pretrained(folder)
    for processor in processors:
        processor.save_pretrained(folder)
    return folder


def _features() -> dict[str, Any]:
    seen = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)) for name in CAMERAS}
    return {
        "input_features": {"observation.state": PolicyFeature(FeatureType.STATE, (STATE,)), **seen},
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,))},
        "device": "cpu",
    }


def _statistics() -> dict[str, dict[str, torch.Tensor]]:
    def of(shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
        return {
            "mean": torch.full(shape, 0.5),
            "std": torch.full(shape, 0.25),
            "min": torch.full(shape, -1.0),
            "max": torch.full(shape, 1.0),
        }

    action = of((ACTIONS,)) | {"mean": torch.tensor(MEAN), "std": torch.tensor(DEVIATION)}
    pictures = {f"observation.images.{name}": of((3, 1, 1)) for name in CAMERAS}
    return {"observation.state": of((STATE,)), "action": action, **pictures}
