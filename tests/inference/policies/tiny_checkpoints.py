"""Checkpoints of real architectures, a few thousand random weights each, laid out as the published ones are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from core.torchvision_operators import define_missing_operators

define_missing_operators()

from transformers import (  # noqa: E402
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

VOCABULARY = 320
STATISTICS: dict[str, Any] = {
    "kitchen": {
        "action": {
            "q01": [-0.02, -0.03, -0.01, 0.0],
            "q99": [0.02, 0.05, 0.03, 1.0],
            "mask": [True, True, True, False],
        }
    }
}
WORDS = ("pick", "up", "the", "red", "cube", "object", "In:", "What", "should", "robot", "take", "to", "Out:", "▁")


def write_llava(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """LLaVA: CLIP and Llama, with its processor; ``settings`` go into config.json."""
    torch.manual_seed(seed)
    tokenizer = words_tokenizer({"image_token": "<image>"})
    network = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
            ),
            text_config=_language(),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-2,
        )
    )
    _spread(network)
    network.save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    change(folder / "config.json", {"norm_stats": STATISTICS, **settings})
    return folder


def write_openvla(folder: Path, *, seed: int = 0, width: int = 32, **settings: Any) -> Path:
    """OpenVLA: DINOv2 with registers beside SigLIP, a projector of three layers, and Llama."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        **_named("vision_backbone.featurizer.", dinov2(width)),
        **_named("vision_backbone.fused_featurizer.", siglip(width)),
        **_named("projector.", _linear("fc1", 2 * width, 64) | _linear("fc2", 64, 32) | _linear("fc3", 32, 32)),
    }
    language = LlamaForCausalLM(_language())
    _spread(language)
    weights |= _named("language_model.", language.state_dict())
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    words_tokenizer().save_pretrained(folder)
    config = {
        "model_type": "openvla",
        "auto_map": {"AutoModelForVision2Seq": "modeling_prismatic.OpenVLAForActionPrediction"},
        "use_fused_vision_backbone": True,
        "timm_override_act_layers": [None, None],
        "n_action_bins": 256,
        "pad_to_multiple_of": 0,
        "text_config": {"model_type": "llama", **_language().to_diff_dict()},
        "norm_stats": STATISTICS,
        **settings,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps({"input_sizes": [[3, 28, 28], [3, 28, 28]]}))
    return folder


def dinov2(width: int) -> dict[str, torch.Tensor]:
    """Three blocks with layer scale, a class token and four registers, positions for the patches alone."""
    weights = _blocks(width, layers=3)
    for name in ("ls1", "ls2"):
        for layer in range(3):
            weights[f"blocks.{layer}.{name}.scale_factor"] = torch.rand(width)
    return weights | {
        "cls_token": torch.randn(1, 1, width),
        "reg_token": torch.randn(1, 4, width),
        "pos_embed": torch.randn(1, 4, width),
    }


def siglip(width: int) -> dict[str, torch.Tensor]:
    """Three blocks, no class token, and a pooling head that is never run."""
    pooling = {"attn_pool.latent": torch.randn(1, 1, width), "norm.weight": torch.ones(width)}
    return _blocks(width, layers=3) | pooling | {"pos_embed": torch.randn(1, 4, width)}


def change(path: Path, values: Mapping[str, Any]) -> None:
    """Write ``values`` over those of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _blocks(width: int, *, layers: int) -> dict[str, torch.Tensor]:
    weights = {
        "patch_embed.proj.weight": torch.randn(width, 3, 14, 14) / 24,
        "patch_embed.proj.bias": torch.randn(width),
    }
    for layer in range(layers):
        block = {
            "norm1.weight": 1 + torch.randn(width) / 10,
            "norm1.bias": torch.randn(width) / 10,
            "norm2.weight": 1 + torch.randn(width) / 10,
            "norm2.bias": torch.randn(width) / 10,
            **_linear("attn.qkv", width, 3 * width),
            **_linear("attn.proj", width, width),
            **_linear("mlp.fc1", width, 48),
            **_linear("mlp.fc2", 48, width),
        }
        weights |= _named(f"blocks.{layer}.", block)
    return weights


def _linear(name: str, narrow: int, wide: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.randn(wide, narrow) / narrow**0.5, f"{name}.bias": torch.randn(wide) / 10}


def _named(prefix: str, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def _spread(network: torch.nn.Module) -> None:
    """Weights as large as a taught network's: with those of the start, no input moves any output."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)


def _language() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
    )


def words_tokenizer(special: Mapping[str, str] | None = None) -> PreTrainedTokenizerFast:
    """Words at the beginning of the vocabulary; the last 256 are actions and have no spelling. ``special``: role to
    word, such as the mark for an image.
    """
    named = dict(special or {})
    words = ["<pad>", "<s>", "</s>", "<unk>", *WORDS, *named.values()]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=named,
    )
