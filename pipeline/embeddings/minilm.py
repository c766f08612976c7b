"""all-MiniLM-L6-v2 in numpy: BERT (Devlin et al., 2018) with six layers, mean pooling, unit length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.embeddings.encoders import EncoderUnavailableError
from pipeline.embeddings.numpy_transformer import Floats, NumpyTransformer, gelu, unit

MAX_TOKENS = 256


class NumpyMiniLM(NumpyTransformer):
    """Encodes texts one at a time; the weights are read once, 90 MB."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, folder: Path, revision: str) -> None:
        super().__init__(folder)
        if self.config["model_type"] != "bert":
            raise EncoderUnavailableError(f"{folder} holds no BERT: the web process cannot encode queries with it.")
        self.revision = revision
        self._heads = int(self.config["num_attention_heads"])
        self._layers = int(self.config["num_hidden_layers"])
        self._epsilon = float(self.config["layer_norm_eps"])
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, texts: Sequence[str]) -> Floats:
        """``float32 [texts][384]``, each of length 1."""
        with self.one_thread():
            return np.stack([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Floats:
        tokens = np.array(self.tokenizer.encode(text).ids)
        hidden = (
            self.weights["embeddings.word_embeddings.weight"][tokens]
            + self.weights["embeddings.position_embeddings.weight"][: len(tokens)]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self.normalise(hidden, "embeddings.LayerNorm", self._epsilon)
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            seen = self.attend(
                hidden,
                f"{name}.attention.self",
                parts=("query", "key", "value"),
                heads=self._heads,
                causal=False,
            )
            attended = self.linear(seen, f"{name}.attention.output.dense")
            hidden = self.normalise(attended + hidden, f"{name}.attention.output.LayerNorm", self._epsilon)
            wide = gelu(self.linear(hidden, f"{name}.intermediate.dense"))
            narrow = self.linear(wide, f"{name}.output.dense")
            hidden = self.normalise(narrow + hidden, f"{name}.output.LayerNorm", self._epsilon)
        return unit(hidden.mean(axis=0))
