"""The compact policy behind the policy interface: loads a checkpoint and answers batches of observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from inference.exceptions import PolicyLoadError
from inference.policies import accelerator
from inference.policies import options as read
from inference.policies.accelerator import Accelerator, AcceleratorOptions
from inference.policies.base import (
    ActionChunk,
    FloatArray,
    ImageArray,
    Observation,
    Policy,
    PolicyInfo,
    reject_unknown_options,
)
from inference.policies.checkpoint_folder import file_digest

if TYPE_CHECKING:
    from inference.policies.compact.checkpoint import Normalisation
    from inference.policies.compact.network import CompactNetwork

_OPTIONS = ("checkpoint", "sha256", *accelerator.OPTIONS)


class CompactPolicy(Policy):
    """A small language-conditioned visuomotor network in PyTorch.

    Options: ``checkpoint``, a path (default: the one that ships with the project, for the demo robot); ``sha256``,
    which the file must have; ``device``, ``dtype`` and ``compile`` as in ``AcceleratorOptions``. A camera that an
    observation lacks is taken to be black.
    """

    backend: ClassVar[str] = "compact"

    def __init__(
        self, *, checkpoint: Path | None = None, sha256: str | None = None, place: AcceleratorOptions | None = None
    ) -> None:
        self._checkpoint = checkpoint
        self._sha256 = sha256
        self._place = place or AcceleratorOptions()
        self._info: PolicyInfo | None = None
        self._network: CompactNetwork | None = None
        self._normalisation: Normalisation
        self._accelerator: Accelerator

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Raises ``PolicyConfigurationError``; the checkpoint itself is looked at by ``load``."""
        reject_unknown_options(options, _OPTIONS, backend=cls.backend)
        checkpoint = read.text(options, "checkpoint")
        return cls(
            checkpoint=Path(checkpoint) if checkpoint else None,
            sha256=read.sha256(options, "sha256"),
            place=AcceleratorOptions.read(options),
        )

    @property
    def info(self) -> PolicyInfo:
        if self._info is None:
            raise PolicyLoadError("The compact policy is not loaded.")
        return self._info

    def load(self) -> None:
        from inference.policies.compact.checkpoint import SHIPPED, read_checkpoint

        path = self._checkpoint or SHIPPED
        self._accelerator = Accelerator(self._place)
        network, self._normalisation = read_checkpoint(path, sha256=self._sha256)
        self._accelerator.place(network)
        self._network = network
        config = network.config
        self._info = PolicyInfo(
            name=path.stem,
            cameras=config.cameras,
            image_size=config.image_size,
            state_size=config.state_size,
            action_names=config.action_names,
            horizon=config.horizon,
            metadata={
                **self._accelerator.describe(),
                "parameters": sum(p.numel() for p in network.parameters()),
                "sha256": file_digest(path),
            },
        )
        # The first call picks kernels and takes several times longer than the next.
        nothing = Observation(images={}, state=np.zeros(config.state_size, dtype=np.float32), instruction="")
        for size in self._accelerator.warm_up_sizes:
            self.infer([nothing] * size)

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        from inference.policies.compact.network import hash_instruction

        network = self._network
        if network is None:
            raise PolicyLoadError("The compact policy is not loaded.")
        if not observations:
            return []
        config, known, send = network.config, self._normalisation, self._accelerator.send
        pictures = {camera: self._pictures(camera, observations) for camera in config.cameras}
        states = (np.stack([observation.state for observation in observations]) - known.state_mean) / known.state_std
        texts = np.stack([hash_instruction(item.instruction, config.text_buckets) for item in observations])

        def normalised() -> FloatArray:
            sent = {camera: send(batch) for camera, batch in pictures.items()}
            return network(sent, send(states.astype(np.float32)), send(texts)).float().cpu().numpy()

        actions: FloatArray = (
            self._accelerator.run(normalised, batch=len(observations)) * known.action_std + known.action_mean
        )
        return [ActionChunk(np.clip(chunk, known.action_low, known.action_high)) for chunk in actions]

    def close(self) -> None:
        if self._network is not None:
            self._network = None
            self._accelerator.release()

    def _pictures(self, camera: str, observations: Sequence[Observation]) -> ImageArray:
        black = np.zeros((*self.info.image_size, 3), dtype=np.uint8)
        return np.stack([observation.images.get(camera, black) for observation in observations])
