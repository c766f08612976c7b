"""A transformer's layers in numpy, for the few words of a query: some 10 ms, and no torch in the web process."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Scalars here are Python's: one of numpy's own would make everything after it double precision, and three times slower.
Floats = npt.NDArray[np.float32]
# Where OpenBLAS has kernels for AVX-512, it multiplies matrices of so few products as they lie. Larger ones it copies
# first, which for the few rows of a query takes as long as the multiplication. So a layer's outputs are computed in
# parts, unless these would have hardly any outputs left.
SMALL_PRODUCT = 1_000_000
FEWEST_OUTPUTS = 16
# Abramowitz and Stegun (1964), 7.1.26: erf to 1.5e-7.
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


class NumpyTransformer:
    """Weights by their names in ``model.safetensors``, and what is computed with them."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        from safetensors import safe_open
        from threadpoolctl import ThreadpoolController
        from tokenizers import Tokenizer  # type: ignore[import-untyped]

        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        with safe_open(folder / "model.safetensors", framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118  # it is no mapping
            self.weights = _in_one_piece(file, names)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._threads = ThreadpoolController()

    def one_thread(self) -> Any:
        """A few words make small products: threads would wait for each other longer than they compute."""
        return self._threads.limit(limits=1, user_api="blas")

    def attend(self, hidden: Floats, name: str, *, parts: tuple[str, str, str], heads: int, causal: bool) -> Floats:
        """Self-attention before its output projection; ``causal`` lets a token see none after it."""
        length, width = hidden.shape
        query, key, value = (
            self.linear(hidden, f"{name}.{part}").reshape(length, heads, -1).transpose(1, 0, 2) for part in parts
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(width / heads)
        if causal:
            scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.asarray((weights @ value).transpose(1, 0, 2).reshape(length, width))

    def linear(self, values: Floats, name: str) -> Floats:
        """The weights stand on the left: with so few columns on the right OpenBLAS has the least to copy."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        if values.ndim == 1:
            return np.asarray(weight @ values + bias)
        outputs, inputs = weight.shape
        parts = _parts(outputs, inputs * len(values))
        if parts is None:
            return np.asarray(values @ weight.T + bias)
        found = weight.reshape(parts, -1, inputs) @ np.ascontiguousarray(values.T)
        return np.asarray(found.reshape(outputs, -1).T + bias)

    def normalise(self, values: Floats, name: str, epsilon: float) -> Floats:
        centred = values - values.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
        return np.asarray(scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"])


@lru_cache(maxsize=256)
def _parts(outputs: int, products: int) -> int | None:
    """Into how many equal parts ``outputs`` are taken, so that those of a part, ``products`` each, are few; None where
    a part would have hardly any outputs left.
    """
    for count in range(1, outputs // FEWEST_OUTPUTS + 1):
        if outputs % count == 0 and outputs // count * products <= SMALL_PRODUCT:
            return count
    return None


def _in_one_piece(file: Any, names: list[str]) -> dict[str, Floats]:
    """The weights side by side: the system gives one large piece large pages, and reading them goes a fifth faster."""
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    piece = np.empty(sum(map(math.prod, shapes.values())), np.float32)
    weights, start = {}, 0
    for name, shape in shapes.items():
        end = start + math.prod(shape)
        weights[name] = piece[start:end].reshape(shape)
        weights[name][...] = file.get_tensor(name)
        start = end
    return weights


def gelu(values: Floats) -> Floats:
    return np.asarray(0.5 * values * (1.0 + _erf(values / math.sqrt(2.0))))


def gelu_tanh(values: Floats) -> Floats:
    return np.asarray(0.5 * values * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (values + 0.044715 * values**3))))


def gelu_quick(values: Floats) -> Floats:
    return np.asarray(values / (1.0 + np.exp(-1.702 * values)))


def unit(vector: Floats) -> Floats:
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def _erf(values: Floats) -> Floats:
    size = np.abs(values)
    t = 1.0 / (1.0 + 0.3275911 * size)
    series = t * (_ERF[0] + t * (_ERF[1] + t * (_ERF[2] + t * (_ERF[3] + t * _ERF[4]))))
    return np.asarray(np.sign(values) * (1.0 - series * np.exp(-size * size)))
