"""The compact policy's network: two cameras, a sentence and the arm's state in, a chunk of actions out.

Small enough for a laptop's processor (about 0.3 million parameters). Each camera goes through a few convolutions that
the instruction modulates (FiLM: Perez et al., 2018) and comes out as a list of image points (spatial softmax: Finn et
al., 2016), so "the red cube" becomes a place in the picture. A perceptron turns places and state into actions.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.policies.base import FloatArray


@dataclass(frozen=True, slots=True)
class CompactConfig:
    """Everything that the shapes of the weights follow from. ``image_size`` is ``(height, width)`` in pixels."""

    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    state_size: int
    action_names: tuple[str, ...]
    horizon: int
    text_buckets: int = 1024
    text_size: int = 32
    channels: int = 32
    hidden_size: int = 256


def hash_instruction(text: str, buckets: int) -> FloatArray:
    """Words and neighbouring pairs of words, counted in hashed buckets: ``float32 [buckets]`` of unit length.

    Needs no vocabulary, so a word never seen before is only a bucket that nothing was learnt about. CRC-32 gives the
    same bucket on every machine.
    """
    words = re.findall(r"\w+", text.casefold())
    counts = np.zeros(buckets, dtype=np.float32)
    for term in (*words, *(" ".join(pair) for pair in itertools.pairwise(words))):
        counts[zlib.crc32(term.encode()) % buckets] += 1
    length = float(np.linalg.norm(counts))
    return counts / np.float32(length) if length else counts


class ModulatedConv(nn.Module):
    """A 3×3 convolution whose channels the instruction scales and shifts."""

    def __init__(self, in_channels: int, out_channels: int, text_size: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)
        self.modulation = nn.Linear(text_size, 2 * out_channels)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """``[batch, in, h, w]`` and ``[batch, text_size]`` to ``[batch, out, h / stride, w / stride]``."""
        scale, shift = self.modulation(text)[..., None, None].chunk(2, dim=1)
        return functional.relu(self.convolution(features) * (1 + scale) + shift)


class CameraEncoder(nn.Module):
    """One camera's picture, read with the instruction in mind."""

    def __init__(self, channels: int, text_size: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels // 2, 5, stride=2, padding=2)
        self.down = ModulatedConv(channels // 2, channels, text_size, stride=2)
        self.look = ModulatedConv(channels, channels, text_size)
        self.points = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, pictures: Tensor, text: Tensor) -> Tensor:
        """``[batch, 3, h, w]`` around zero to ``[batch, 3 * channels]``: x and y in -1..1, and the mean activation."""
        features = self.down(functional.relu(self.stem(pictures)), text)
        activations = self.points(features + self.look(features, text))
        batch, channels, height, width = activations.shape
        attention = activations.flatten(2).softmax(dim=-1).view(batch, channels, height, width)
        x = (attention.sum(dim=2) * torch.linspace(-1, 1, width, device=attention.device)).sum(dim=-1)
        y = (attention.sum(dim=3) * torch.linspace(-1, 1, height, device=attention.device)).sum(dim=-1)
        return torch.cat((x, y, activations.mean(dim=(2, 3))), dim=1)


class CompactNetwork(nn.Module):
    """Normalised observations to normalised actions."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        self.text = nn.Linear(config.text_buckets, config.text_size)
        self.encoders = nn.ModuleDict(
            {camera: CameraEncoder(config.channels, config.text_size) for camera in config.cameras}
        )
        features = 3 * config.channels * len(config.cameras) + config.state_size + config.text_size
        self.head = nn.Sequential(
            nn.Linear(features, config.hidden_size),
            nn.ReLU(),
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.ReLU(),
            nn.Linear(config.hidden_size, config.horizon * len(config.action_names)),
        )

    def forward(self, pictures: Mapping[str, Tensor], state: Tensor, text: Tensor) -> Tensor:
        """A batch of observations to ``[batch, horizon, dimensions]``, in standard deviations from the mean action.

        ``pictures``: camera to ``uint8 [batch, height, width, 3]``; ``state``: ``[batch, state_size]``, normalised;
        ``text``: ``[batch, text_buckets]`` from ``hash_instruction``.
        """
        meaning = functional.relu(self.text(text))
        seen = [
            encoder(pictures[camera].permute(0, 3, 1, 2).float() / 127.5 - 1, meaning)
            for camera, encoder in self.encoders.items()
        ]
        actions: Tensor = self.head(torch.cat((*seen, state, meaning), dim=1))
        return actions.view(-1, self.config.horizon, len(self.config.action_names))
