"""all-MiniLM-L6-v2 in numpy: BERT (Devlin et al., 2018) with six layers, mean pooling, unit length.

For a query of a few words: about 10 ms, and neither torch nor its start-up in the process that answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
MAX_TOKENS = 256
# Abramowitz and Stegun (1964), 7.1.26: erf to 1.5e-7.
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


class NumpyMiniLM:
    """Encodes texts one at a time; the weights are read once, 90 MB."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, folder: Path, revision: str) -> None:
        from safetensors.numpy import load_file
        from threadpoolctl import ThreadpoolController
        from tokenizers import Tokenizer  # type: ignore[import-untyped]

        self.revision = revision
        config = json.loads((folder / "config.json").read_text())
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        self._weights = {name: np.asarray(w, np.float32) for name, w in load_file(folder / "model.safetensors").items()}
        self._threads = ThreadpoolController()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def encode(self, texts: Sequence[str]) -> Floats:
        """``float32 [texts][384]``, each of length 1."""
        # A few words make small products: threads would wait for each other longer than they compute.
        with self._threads.limit(limits=1, user_api="blas"):
            return np.stack([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Floats:
        tokens = np.array(self._tokenizer.encode(text).ids)
        weights = self._weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][tokens]
            + weights["embeddings.position_embeddings.weight"][: len(tokens)]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._normalise(hidden, "embeddings.LayerNorm")
        for layer in range(self._layers):
            name = f"encoder.layer.{layer}"
            attended = self._linear(self._attend(hidden, f"{name}.attention.self"), f"{name}.attention.output.dense")
            hidden = self._normalise(attended + hidden, f"{name}.attention.output.LayerNorm")
            wide = _gelu(self._linear(hidden, f"{name}.intermediate.dense"))
            hidden = self._normalise(self._linear(wide, f"{name}.output.dense") + hidden, f"{name}.output.LayerNorm")
        pooled = hidden.mean(axis=0)
        return np.asarray(pooled / np.linalg.norm(pooled), dtype=np.float32)

    def _attend(self, hidden: Floats, name: str) -> Floats:
        length, width = hidden.shape
        query, key, value = (
            self._linear(hidden, f"{name}.{part}").reshape(length, self._heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(width / self._heads)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.asarray((weights @ value).transpose(1, 0, 2).reshape(length, width))

    def _linear(self, values: Floats, name: str) -> Floats:
        return np.asarray(values @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"])

    def _normalise(self, values: Floats, name: str) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._epsilon)
        return np.asarray(scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])


def _gelu(values: Floats) -> Floats:
    return np.asarray(0.5 * values * (1.0 + _erf(values / np.sqrt(2.0))))


def _erf(values: Floats) -> Floats:
    size = np.abs(values)
    t = 1.0 / (1.0 + 0.3275911 * size)
    series = t * (_ERF[0] + t * (_ERF[1] + t * (_ERF[2] + t * (_ERF[3] + t * _ERF[4]))))
    return np.asarray(np.sign(values) * (1.0 - series * np.exp(-size * size)))
