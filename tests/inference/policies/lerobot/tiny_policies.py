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
from lerobot.policies.smolvla.modeling_smolvla import SmolVLAConfig, SmolVLAPolicy  # noqa: E402
from lerobot.policies.smolvla.processor_smolvla import make_smolvla_pre_post_processors  # noqa: E402
from transformers import (  # noqa: E402
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from tests.inference.policies.tiny_checkpoints import words_tokenizer  # noqa: E402

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


def write_smolvla(folder: Path, vlm: Path) -> Path:
    """Chunks of six actions, from a vision-language model whose configuration and processor lie in ``vlm``."""
    torch.manual_seed(0)
    special = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }
    tokenizer = words_tokenizer(special)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4}
    SmolVLMConfig(
        vision_config={"hidden_size": 32, "intermediate_size": 48, "image_size": SIZE, "patch_size": 16, **shape},
        text_config={
            "model_type": "llama",
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_key_value_heads": 2,
            "head_dim": 16,
            **shape,
        },
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    ).save_pretrained(vlm)
    SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(), tokenizer=tokenizer, video_processor=SmolVLMVideoProcessor()
    ).save_pretrained(vlm)
    policy = SmolVLAPolicy(
        SmolVLAConfig(
            **_features(),
            vlm_model_name=str(vlm),
            chunk_size=6,
            n_action_steps=6,
            num_steps=3,
            num_vlm_layers=2,
            resize_imgs_with_padding=(SIZE, SIZE),
            max_state_dim=8,
            max_action_dim=8,
            tokenizer_max_length=16,
        )
    )
    return _written(policy, make_smolvla_pre_post_processors(policy.config, _statistics()), folder)


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
