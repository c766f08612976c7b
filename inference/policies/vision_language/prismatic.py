"""OpenVLA: a Prismatic model (Karamcheti et al. 2024) of one or two image encoders, a projector and a language model.

Written for the published checkpoints (``model_type: openvla``), whose own code answers one observation at a time and,
with a present transformers library, ignores the image without a word. None of that code is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoTokenizer

from inference.exceptions import PolicyLoadError
from inference.policies.accelerator import Accelerator
from inference.policies.base import ImageArray
from inference.policies.checkpoint_folder import read_json
from inference.policies.vision_language.action_tokens import ActionTokens
from inference.policies.vision_language.model import reading_checkpoint
from inference.policies.vision_language.speech import Spoken, speak
from inference.policies.vision_language.vision_transformer import VisionTransformer

# Every encoder that Prismatic models were published with is a ViT-L or a SO400M, and both have 16 heads.
_HEADS = 16
_IMAGENET = ((0.484375, 0.455078125, 0.40625), (0.228515625, 0.2236328125, 0.224609375))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# The word that ends a prompt in training: an empty one, which the tokenizer writes as a mark for a space.
_EMPTY_WORD = "▁"


class Projector(nn.Module):
    """Patches in the width of the encoders to words in the width of the language model."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        for layer in sorted({name.split(".")[0] for name in weights}):
            wide, narrow = weights[f"{layer}.weight"].shape
            self.add_module(layer, nn.Linear(narrow, wide))

    def forward(self, patches: Tensor) -> Tensor:
        first, *later = self.children()
        values = first(patches)
        for layer in later:
            values = layer(functional.gelu(values))
        return values


class PrismaticNetwork(nn.Module):
    """``eyes`` look at the same picture; their patches, side by side, stand in the prompt after its first word."""

    def __init__(self, eyes: Sequence[VisionTransformer], projector: Projector, language_model: Any) -> None:
        super().__init__()
        self.eyes = nn.ModuleList(eyes)
        self.projector = projector
        self.language_model = language_model

    def words(self, pictures: Sequence[Tensor]) -> Tensor:
        """One normalised batch ``[batch, 3, height, width]`` for each eye to ``[batch, patches, width]``."""
        seen = [eye(batch) for eye, batch in zip(self.eyes, pictures, strict=True)]
        return self.projector(torch.cat(seen, dim=2))

    def prompt(self, tokens: Sequence[Sequence[int]], words: Tensor) -> dict[str, Tensor]:
        """``tokens`` of each prompt with the picture's ``words`` after the first: embeddings, padded on the left."""
        longest = max(len(row) for row in tokens)
        embed = self.language_model.get_input_embeddings()
        ids = torch.tensor([[0] * (longest - len(row)) + list(row) for row in tokens], device=words.device)
        embedded = embed(ids)
        rows, masks = [], []
        for row, (said, seen) in enumerate(zip(embedded, words, strict=True)):
            start = longest - len(tokens[row])
            rows.append(torch.cat([said[: start + 1], seen, said[start + 1 :]]))
            masks.append(torch.arange(len(rows[-1]), device=words.device) >= start)
        return {"inputs_embeds": torch.stack(rows), "attention_mask": torch.stack(masks).long()}


class PrismaticModel:
    """A published OpenVLA checkpoint, or one that was fine-tuned from it, in batches of any size."""

    def __init__(self, folder: Path, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        config, images = (read_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
        weights = _weights(folder)
        with reading_checkpoint(folder):
            self._tokenizer = AutoTokenizer.from_pretrained(  # type: ignore[no-untyped-call]  # nosec B615: a local folder
                folder, trust_remote_code=False, local_files_only=True
            )
            self.network = _network(config, weights, accelerator.weights_dtype)
        height, width = (images.get("input_sizes") or [[3, 224, 224]])[0][1:]
        self.image_size = (int(height), int(width))
        self._ranges = [
            tuple(accelerator.send(torch.tensor(numbers).view(1, 3, 1, 1)) for numbers in pair)
            for pair in _ranges(images, eyes=len(self.network.eyes))
        ]
        # A prompt grows with every word that is said, and each new length would be compiled while a robot waits.
        accelerator.place(self.network, compiled=[*self.network.eyes, self.network.projector])

    def say(
        self, pictures: Sequence[Sequence[ImageArray]], prompts: Sequence[str], *, count: int, tokens: ActionTokens
    ) -> Spoken:
        batch = self._accelerator.send(np.stack([seen[0] for seen in pictures]))
        shares = batch.permute(0, 3, 1, 2).float() / 255
        dtype = self._accelerator.weights_dtype
        words = self.network.words([((shares - mean) / std).to(dtype) for mean, std in self._ranges])
        prompt = self.network.prompt([self._tokens(text) for text in prompts], words)
        return speak(self.network.language_model, prompt, count=count, tokens=tokens)

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text)["input_ids"]
        empty = self._tokenizer.convert_tokens_to_ids(_EMPTY_WORD)
        if empty is not None and empty != self._tokenizer.unk_token_id and tokens[-1] != empty:
            tokens = [*tokens, empty]
        return tokens


def _weights(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    with reading_checkpoint(folder):
        for path in sorted(folder.glob("*.safetensors")):
            weights |= load_file(path)
    return weights


def _network(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype) -> PrismaticNetwork:
    """Raises what ``reading_checkpoint`` catches where ``weights`` and ``config`` do not fit."""
    prefixes = ["vision_backbone.featurizer."]
    if config.get("use_fused_vision_backbone"):
        prefixes.append("vision_backbone.fused_featurizer.")
    activations = config.get("timm_override_act_layers") or [None] * len(prefixes)
    eyes = [
        VisionTransformer.of(_below(prefix, weights), heads=_HEADS, is_quick=activation == "quick_gelu")
        for prefix, activation in zip(prefixes, activations, strict=True)
    ]
    projecting = _below("projector.", weights)
    projector = Projector(projecting)
    projector.load_state_dict(projecting)
    text = dict(config["text_config"])
    language_config = CONFIG_MAPPING[text.pop("model_type", "llama")](**text)
    language_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(language_config)]
    language_model, report = language_class.from_pretrained(
        None,
        config=language_config,
        state_dict=_below("language_model.", weights),
        dtype=dtype,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise PolicyLoadError(f"The checkpoint lacks weights, such as {sorted(report['missing_keys'])[0]}.")
    return PrismaticNetwork(eyes, projector, language_model)


def _below(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _ranges(images: Mapping[str, Any], *, eyes: int) -> list[tuple[Sequence[float], Sequence[float]]]:
    """Mean and standard deviation of the colours, red, green and blue in 0..1, for each eye."""
    means, deviations = images.get("means"), images.get("stds")
    if means and deviations:
        return list(zip(means, deviations, strict=True))[:eyes]
    return [_IMAGENET, _HALF] if eyes == 2 else [_HALF]
