"""What the compact policy learns from: observations with the actions that should have followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from inference.policies.base import FloatArray, ImageArray


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """Frames and the examples drawn from them.

    A frame is one moment: ``images``, camera to ``uint8 [frames, height, width, 3]`` RGB, and ``states``,
    ``float32 [frames, state_size]``. An example says what to do there when asked for something: ``frame_of``,
    ``int64 [examples]``; ``instructions``, one string each; ``actions``, ``float32 [examples, horizon, dimensions]``
    in physical units. One frame may serve several examples, because another instruction asks for other actions.
    """

    images: Mapping[str, ImageArray]
    states: FloatArray
    frame_of: npt.NDArray[np.int64]
    instructions: tuple[str, ...]
    actions: FloatArray

    def __len__(self) -> int:
        return len(self.frame_of)

    def save(self, path: Path) -> None:
        """Write one ``.npz`` file; it appears under its name only when complete."""
        partial = path.with_suffix(".partial.npz")
        arrays: dict[str, Any] = {f"image_{camera}": pictures for camera, pictures in self.images.items()}
        arrays |= {"states": self.states, "frame_of": self.frame_of, "actions": self.actions}
        arrays["instructions"] = np.array(self.instructions)
        np.savez(partial, **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Self:
        """Read and join files that ``save`` wrote. Raises ``ValueError`` when there are none."""
        if not paths:
            raise ValueError("There are no demonstrations to load.")
        parts = []
        for path in paths:
            with np.load(path, allow_pickle=False) as archive:
                parts.append(dict(archive))
        offsets = np.cumsum([0, *(len(part["states"]) for part in parts[:-1])])
        cameras = [name for name in parts[0] if name.startswith("image_")]
        return cls(
            images={name.removeprefix("image_"): np.concatenate([part[name] for part in parts]) for name in cameras},
            states=np.concatenate([part["states"] for part in parts]),
            frame_of=np.concatenate([part["frame_of"] + offset for part, offset in zip(parts, offsets, strict=True)]),
            instructions=tuple(str(text) for part in parts for text in part["instructions"]),
            actions=np.concatenate([part["actions"] for part in parts]),
        )
