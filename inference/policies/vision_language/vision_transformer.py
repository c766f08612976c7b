"""The image encoders of Prismatic models: vision transformers (Dosovitskiy et al. 2021), up to the last layer but one.

Parameters have the names of the published checkpoints (those of the timm library), from whose shapes everything but the
number of heads is read. Registers (Darcet et al. 2024) and layer scale (Touvron et al. 2021) are DINOv2's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional


class _QuickGelu(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * torch.sigmoid(1.702 * values)


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.scale_factor


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, *, has_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=has_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, values: Tensor) -> Tensor:
        batch, length, width = values.shape
        query, key, value = self.qkv(values).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


class _Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = activation
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, values: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(values)))


class _Block(nn.Module):
    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        *,
        activation: nn.Module,
        epsilon: float,
        has_bias: bool,
        has_scale: bool,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = _Attention(width, heads, has_bias=has_bias)
        self.ls1 = _Scale(width) if has_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = _Perceptron(width, hidden, activation)
        self.ls2 = _Scale(width) if has_scale else nn.Identity()

    def forward(self, values: Tensor) -> Tensor:
        values = values + self.ls1(self.attn(self.norm1(values)))
        return values + self.ls2(self.mlp(self.norm2(values)))


class VisionTransformer(nn.Module):
    """``float [batch, 3, height, width]``, normalised, to ``float [batch, patches, width]``."""

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], *, layers: int, heads: int, is_quick: bool = False
    ) -> None:
        super().__init__()
        width, channels, patch, _ = shapes["patch_embed.proj.weight"]
        has_bias = "patch_embed.proj.bias" in shapes
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(channels, width, kernel_size=patch, stride=patch, bias=has_bias)}
        )
        self.pos_embed = nn.Parameter(torch.zeros(shapes["pos_embed"]))
        self.cls_token = nn.Parameter(torch.zeros(shapes["cls_token"])) if "cls_token" in shapes else None
        self.reg_token = nn.Parameter(torch.zeros(shapes["reg_token"])) if "reg_token" in shapes else None
        is_clip = "norm_pre.weight" in shapes
        epsilon = 1e-5 if is_clip else 1e-6
        self.norm_pre = nn.LayerNorm(width, eps=epsilon) if is_clip else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                _Block(
                    width,
                    shapes["blocks.0.mlp.fc1.weight"][0],
                    heads,
                    activation=_QuickGelu() if is_quick else nn.GELU(),
                    epsilon=epsilon,
                    has_bias="blocks.0.attn.qkv.bias" in shapes,
                    has_scale="blocks.0.ls1.scale_factor" in shapes,
                )
                for _ in range(layers)
            )
        )

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], *, heads: int, is_quick: bool = False) -> Self:
        """The encoder that ``weights`` are of. Raises ``KeyError`` or ``RuntimeError`` where they are of none."""
        named = {name.replace(".gamma", ".scale_factor"): tensor for name, tensor in weights.items()}
        depth = 1 + max(int(name.split(".")[1]) for name in named if name.startswith("blocks."))
        # The patches are read after the last block but one; what comes later (norms, pooling, heads) is never run.
        layers = depth - 1
        unused = ("norm.", "fc_norm.", "attn_pool.", "head.", f"blocks.{layers}.")
        shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
        with torch.device("meta"):
            network = cls(shapes, layers=layers, heads=heads, is_quick=is_quick)
        kept = {name: tensor for name, tensor in named.items() if not name.startswith(unused)}
        network.load_state_dict(kept, assign=True)
        return network

    def forward(self, pictures: Tensor) -> Tensor:
        values = self.patch_embed["proj"](pictures).flatten(2).transpose(1, 2)
        patches = values.shape[1]
        prefix = [token.expand(len(values), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        if self.pos_embed.shape[1] == patches:
            values = torch.cat([*prefix, values + self.pos_embed], dim=1)
        else:
            values = torch.cat([*prefix, values], dim=1) + self.pos_embed
        return self.blocks(self.norm_pre(values))[:, -patches:]
