"""The compact policy's checkpoint: one safetensors file with weights, configuration and normalisation together."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from inference.exceptions import PolicyLoadError
from inference.policies.base import FloatArray
from inference.policies.checkpoint_folder import file_digest, verify
from inference.policies.compact.network import CompactConfig, CompactNetwork

SHIPPED = Path(__file__).with_name("weights") / "panda-pick.safetensors"
_FORMAT = "vla-compact-1"


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How physical units become numbers around zero: ``float32 [state_size]`` and ``float32 [dimensions]``.

    ``action_low`` and ``action_high`` are the least and greatest actions that were demonstrated; the policy stays
    between them.
    """

    state_mean: FloatArray
    state_std: FloatArray
    action_mean: FloatArray
    action_std: FloatArray
    action_low: FloatArray
    action_high: FloatArray

    @classmethod
    def of(cls, states: FloatArray, actions: FloatArray) -> Self:
        """Measure ``states`` ``[frames, state_size]`` and ``actions`` ``[examples, horizon, dimensions]``."""
        flat = actions.reshape(-1, actions.shape[-1])
        return cls(
            state_mean=states.mean(axis=0),
            state_std=states.std(axis=0) + np.float32(1e-6),
            action_mean=flat.mean(axis=0),
            action_std=flat.std(axis=0) + np.float32(1e-6),
            action_low=flat.min(axis=0),
            action_high=flat.max(axis=0),
        )


def write_checkpoint(path: Path, network: CompactNetwork, normalisation: Normalisation) -> str:
    """Save and return the file's SHA-256 as hexadecimal digits."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {
        "format": _FORMAT,
        "config": json.dumps(asdict(network.config)),
        "normalisation": json.dumps({name: values.tolist() for name, values in asdict(normalisation).items()}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata=metadata)
    return file_digest(path)


def read_checkpoint(path: Path, *, sha256: str | None = None) -> tuple[CompactNetwork, Normalisation]:
    """Load a network, ready for inference on the CPU.

    Raises ``PolicyLoadError`` when the file is absent or damaged, is not a compact policy's, or has another SHA-256.
    """
    if not path.is_file():
        raise PolicyLoadError(f"There is no checkpoint at '{path}'.")
    if sha256 is not None:
        verify(file_digest(path), expected=sha256, name=path.name)
    try:
        with safe_open(path, framework="pt") as archive:
            metadata = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise PolicyLoadError(f"The checkpoint '{path.name}' is damaged: {error}.") from error
    if metadata.get("format") != _FORMAT:
        raise PolicyLoadError(f"The checkpoint '{path.name}' is not of the format {_FORMAT}.")
    try:
        network = CompactNetwork(_config(json.loads(metadata["config"])))
        network.load_state_dict(tensors)
        statistics = json.loads(metadata["normalisation"])
        normalisation = Normalisation(**{name: np.array(v, dtype=np.float32) for name, v in statistics.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PolicyLoadError(f"The checkpoint '{path.name}' does not fit the compact network: {error}") from error
    return network.eval(), normalisation


def _config(values: dict[str, object]) -> CompactConfig:
    # JSON knows lists only.
    tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return CompactConfig(**tuples)  # type: ignore[arg-type]
