"""The image encoders against those of the transformers library, which other people wrote, with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.torchvision_operators import define_missing_operators
from inference.policies.vision_language.vision_transformer import VisionTransformer
from tests.inference.policies.tiny_checkpoints import dinov2, siglip

define_missing_operators()

from transformers import (  # noqa: E402
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

pytestmark = pytest.mark.ml

WIDTH, HEADS = 32, 4
SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "image_size": 28,
    "patch_size": 14,
}


def test_siglip_is_the_encoder_that_transformers_has() -> None:
    torch.manual_seed(1)
    weights = siglip(WIDTH)
    theirs = SiglipVisionModel(
        SiglipVisionConfig(intermediate_size=48, hidden_act="gelu", vision_use_head=False, **SHAPE)
    ).eval()
    renamed = {
        "embeddings.patch_embedding": "patch_embed.proj",
        **{f"encoder.layers.{n}": f"blocks.{n}" for n in range(3)},
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "self_attn.out_proj": "attn.proj",
    }
    state = theirs.state_dict()
    for name in state:
        ours = name.removeprefix("vision_model.")
        for their_part, our_part in renamed.items():
            ours = ours.replace(their_part, our_part)
        if name.endswith("position_embedding.weight"):
            state[name] = weights["pos_embed"][0]
        elif "_proj." in ours:
            state[name] = _third(weights, ours, ("q_proj", "k_proj", "v_proj"), "self_attn")
        elif ours in weights:
            state[name] = weights[ours]
        else:
            assert "post_layernorm" in name, name  # comes after the layers that are read
    theirs.load_state_dict(state)
    pictures = torch.randn(2, 3, 28, 28)

    with torch.no_grad():
        expected = theirs(pictures, output_hidden_states=True).hidden_states[-2]

    torch.testing.assert_close(VisionTransformer.of(weights, heads=HEADS)(pictures), expected, atol=1e-5, rtol=1e-5)


def test_dinov2_with_registers_is_the_encoder_that_transformers_has() -> None:
    torch.manual_seed(2)
    weights = dinov2(WIDTH)
    theirs = Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(num_register_tokens=4, mlp_ratio=1.5, layer_norm_eps=1e-6, **SHAPE)
    ).eval()
    renamed = {
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "encoder.layer": "blocks",
        "attention.output.dense": "attn.proj",
        "layer_scale1.lambda1": "ls1.scale_factor",
        "layer_scale2.lambda1": "ls2.scale_factor",
    }
    state = theirs.state_dict()
    for name in state:
        ours = name
        for their_part, our_part in renamed.items():
            ours = ours.replace(their_part, our_part)
        if name == "embeddings.position_embeddings":  # theirs has a position for the class token too; ours adds none
            state[name] = torch.cat([torch.zeros(1, 1, WIDTH), weights["pos_embed"]], dim=1)
        elif name in ("embeddings.cls_token", "embeddings.register_tokens"):
            state[name] = weights["cls_token" if name.endswith("cls_token") else "reg_token"]
        elif "attention.attention" in ours:
            state[name] = _third(weights, ours, ("query", "key", "value"), "attention.attention")
        elif ours in weights:
            state[name] = weights[ours]
        else:
            assert "mask_token" in name or name.startswith("layernorm"), name
    theirs.load_state_dict(state)
    pictures = torch.randn(2, 3, 28, 28)

    with torch.no_grad():
        expected = theirs(pictures, output_hidden_states=True).hidden_states[-2][:, 5:]

    torch.testing.assert_close(VisionTransformer.of(weights, heads=HEADS)(pictures), expected, atol=1e-5, rtol=1e-5)


def _third(weights: dict[str, torch.Tensor], name: str, parts: tuple[str, str, str], within: str) -> torch.Tensor:
    """Query, key or value out of the one matrix that holds all three."""
    part = next(part for part in parts if f"{within}.{part}." in name)
    fused = weights[name.replace(f"{within}.{part}", "attn.qkv")]
    return fused.chunk(3)[parts.index(part)]
