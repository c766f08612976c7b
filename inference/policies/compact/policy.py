"""The compact policy behind the policy interface: loads a checkpoint and answers batches of observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from inference.exceptions import AcceleratorOutOfMemoryError, PolicyConfigurationError, PolicyLoadError
from inference.policies.base import (
    ActionChunk,
    FloatArray,
    ImageArray,
    Observation,
    Policy,
    PolicyInfo,
    reject_unknown_options,
)

if TYPE_CHECKING:
    import torch

    from inference.policies.compact.checkpoint import Normalisation
    from inference.policies.compact.network import CompactNetwork

_OPTIONS = ("checkpoint", "sha256", "device")
_DEVICES = ("auto", "cpu", "cuda")


class CompactPolicy(Policy):
    """A small language-conditioned visuomotor network in PyTorch.

    Options: ``checkpoint``, a path (default: the one that ships with the project, for the demo robot); ``sha256``,
    which the file must have; ``device``: ``auto`` (default), ``cpu`` or ``cuda``. A camera that an observation lacks
    is taken to be black.
    """

    backend: ClassVar[str] = "compact"

    def __init__(self, *, checkpoint: Path | None = None, sha256: str | None = None, device: str = "auto") -> None:
        self._checkpoint = checkpoint
        self._sha256 = sha256
        self._device_name = device
        self._info: PolicyInfo | None = None
        self._network: CompactNetwork | None = None
        self._normalisation: Normalisation
        self._device: torch.device

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Raises ``PolicyConfigurationError``; the checkpoint itself is looked at by ``load``."""
        reject_unknown_options(options, _OPTIONS, backend=cls.backend)
        for name, value in options.items():
            if not isinstance(value, str):
                raise PolicyConfigurationError(f"The option '{name}' is text, not {value!r}.")
        device = options.get("device", "auto")
        if device not in _DEVICES:
            raise PolicyConfigurationError(f"The option 'device' is one of {', '.join(_DEVICES)}, not '{device}'.")
        checkpoint = options.get("checkpoint")
        return cls(
            checkpoint=Path(checkpoint) if checkpoint else None, sha256=options.get("sha256") or None, device=device
        )

    @property
    def info(self) -> PolicyInfo:
        if self._info is None:
            raise PolicyLoadError("The compact policy is not loaded.")
        return self._info

    def load(self) -> None:
        import torch

        from inference.policies.compact.checkpoint import SHIPPED, read_checkpoint

        has_cuda = torch.cuda.is_available()
        if self._device_name == "cuda" and not has_cuda:
            raise PolicyLoadError("The option 'device' asks for CUDA and this machine has none.")
        path = self._checkpoint or SHIPPED
        network, self._normalisation = read_checkpoint(path, sha256=self._sha256)
        self._device = torch.device("cuda" if has_cuda and self._device_name != "cpu" else "cpu")
        self._network = network.to(self._device)
        config = network.config
        self._info = PolicyInfo(
            name=path.stem,
            cameras=config.cameras,
            image_size=config.image_size,
            state_size=config.state_size,
            action_names=config.action_names,
            horizon=config.horizon,
            metadata={"device": str(self._device), "parameters": sum(p.numel() for p in network.parameters())},
        )
        # The first call picks kernels and takes several times longer than the next.
        self.infer([Observation(images={}, state=np.zeros(config.state_size, dtype=np.float32), instruction="")])

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        import torch

        from inference.policies.compact.network import hash_instruction

        if self._network is None:
            raise PolicyLoadError("The compact policy is not loaded.")
        if not observations:
            return []
        config, known = self._network.config, self._normalisation
        pictures = {camera: self._pictures(camera, observations) for camera in config.cameras}
        states = (np.stack([observation.state for observation in observations]) - known.state_mean) / known.state_std
        texts = np.stack([hash_instruction(item.instruction, config.text_buckets) for item in observations])
        try:
            with torch.inference_mode():
                normalised = self._network(
                    {camera: torch.from_numpy(batch).to(self._device) for camera, batch in pictures.items()},
                    torch.from_numpy(states.astype(np.float32)).to(self._device),
                    torch.from_numpy(texts).to(self._device),
                )
        except torch.OutOfMemoryError as error:
            raise AcceleratorOutOfMemoryError(f"A batch of {len(observations)} does not fit.") from error
        actions: FloatArray = normalised.cpu().numpy() * known.action_std + known.action_mean
        return [ActionChunk(np.clip(chunk, known.action_low, known.action_high)) for chunk in actions]

    def close(self) -> None:
        if self._network is not None and self._device.type == "cuda":
            import torch

            self._network = None
            torch.cuda.empty_cache()
        self._network = None

    def _pictures(self, camera: str, observations: Sequence[Observation]) -> ImageArray:
        black = np.zeros((*self.info.image_size, 3), dtype=np.uint8)
        return np.stack([observation.images.get(camera, black) for observation in observations])
