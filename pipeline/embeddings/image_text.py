"""The text towers of CLIP (Radford et al., 2021) and SigLIP (Zhai et al., 2023) in numpy: words to find pictures by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.embeddings.numpy_transformer import Floats, NumpyTransformer, gelu, gelu_quick, gelu_tanh, unit

PREFIX = "text_model."
ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "quick_gelu": gelu_quick,
    "gelu": gelu,
    "gelu_pytorch_tanh": gelu_tanh,
}
# What a checkpoint's config leaves out is as these say (transformers' CLIPTextConfig and SiglipTextConfig).
DEFAULTS = {
    "clip": {"hidden_act": "quick_gelu", "layers": 12, "heads": 8, "layer_norm_eps": 1e-5, "positions": 77},
    "siglip": {"hidden_act": "gelu_pytorch_tanh", "layers": 12, "heads": 12, "layer_norm_eps": 1e-6, "positions": 64},
}


class NumpyImageText(NumpyTransformer):
    """Encodes texts one at a time into the space of a model's pictures; only the text tower's weights are read."""

    def __init__(self, folder: Path, name: str, revision: str) -> None:
        super().__init__(folder, prefix="text_")
        self.name, self.revision = name, revision
        kind = "siglip" if str(self.config["model_type"]).startswith("siglip") else "clip"
        given = {**DEFAULTS[kind], **self.config.get("text_config", {})}
        self._is_clip = kind == "clip"
        self._layers = int(given.get("num_hidden_layers", given["layers"]))
        self._heads = int(given.get("num_attention_heads", given["heads"]))
        self._epsilon = float(given["layer_norm_eps"])
        self._activate = ACTIVATIONS[given["hidden_act"]]
        positions = int(given.get("max_position_embeddings", given["positions"]))
        self.tokenizer.enable_truncation(positions)
        if self._is_clip:
            self.tokenizer.no_padding()
        else:
            # SigLIP was trained on texts of one length, and looks at the padding too.
            self.tokenizer.enable_padding(length=positions, pad_id=int(given.get("pad_token_id", 1)))

    def encode(self, texts: Sequence[str]) -> Floats:
        """``float32 [texts][dimensions]``, each of length 1."""
        with self.one_thread():
            return np.stack([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Floats:
        tokens = np.array(self.tokenizer.encode(text if self._is_clip else text.lower()).ids)
        hidden = np.asarray(
            self.weights[f"{PREFIX}embeddings.token_embedding.weight"][tokens]
            + self.weights[f"{PREFIX}embeddings.position_embedding.weight"][: len(tokens)]
        )
        for layer in range(self._layers):
            name = f"{PREFIX}encoder.layers.{layer}"
            seen = self.attend(
                self.normalise(hidden, f"{name}.layer_norm1", self._epsilon),
                f"{name}.self_attn",
                parts=("q_proj", "k_proj", "v_proj"),
                heads=self._heads,
                causal=self._is_clip,
            )
            hidden = hidden + self.linear(seen, f"{name}.self_attn.out_proj")
            wide = self.linear(self.normalise(hidden, f"{name}.layer_norm2", self._epsilon), f"{name}.mlp.fc1")
            hidden = hidden + self.linear(self._activate(wide), f"{name}.mlp.fc2")
        # The last token has seen all others: the end of the text in CLIP, the last place in SigLIP.
        last = self.normalise(hidden, f"{PREFIX}final_layer_norm", self._epsilon)[-1]
        if self._is_clip:
            return unit(last @ self.weights["text_projection.weight"].T)
        return unit(self.linear(last, f"{PREFIX}head"))
