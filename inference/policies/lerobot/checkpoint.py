"""A LeRobot checkpoint (0.4), looked at before any of it is used: ``config.json``, ``model.safetensors`` and the
processors that normalise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from inference.exceptions import PolicyLoadError
from inference.policies.checkpoint_folder import read_json

PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
# A policy's type to its class in LeRobot.
CLASSES = {
    "act": "lerobot.policies.act.modeling_act:ACTPolicy",
    "diffusion": "lerobot.policies.diffusion.modeling_diffusion:DiffusionPolicy",
    "smolvla": "lerobot.policies.smolvla.modeling_smolvla:SmolVLAPolicy",
    "pi0": "lerobot.policies.pi0.modeling_pi0:PI0Policy",
}
_IMAGES = "observation.images."
# SmolVLA fills these in itself.
_EMPTY = "empty_camera"


@dataclass(frozen=True, slots=True)
class Described:
    """What ``config.json`` says of a policy. ``cameras``: name to height and width; ``state_size`` is 0 where it has
    no state; ``steps`` are the names of the processors' steps.
    """

    kind: str
    cameras: Mapping[str, tuple[int, int]]
    state_size: int
    dimensions: int
    steps: frozenset[str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises ``PolicyLoadError`` saying what is missing, not understood or not allowed."""
        config = read_json(folder / "config.json")
        kind = config.get("type")
        if kind not in CLASSES:
            raise PolicyLoadError(f"A LeRobot policy of type {kind!r} is not served; known are {', '.join(CLASSES)}.")
        if not (folder / "model.safetensors").is_file():
            raise PolicyLoadError(f"The checkpoint '{folder.name}' holds no model.safetensors.")
        cameras, state_size = {}, 0
        for name, feature in _features(config, "input_features").items():
            if name == "observation.state":
                state_size = feature[0]
            elif name.startswith(_IMAGES):
                if _EMPTY not in name:
                    cameras[name.removeprefix(_IMAGES)] = (feature[1], feature[2])
            else:
                raise PolicyLoadError(f"The policy wants '{name}', which no robot of a collection sends.")
        if not cameras:
            raise PolicyLoadError("The policy sees no camera that is named observation.images.NAME.")
        dimensions = _features(config, "output_features").get("action", (0,))[0]
        steps = _steps(folder, PREPROCESSOR) | _steps(folder, POSTPROCESSOR)
        return cls(str(kind), cameras, state_size, dimensions, steps)


def _features(config: Mapping[str, Any], name: str) -> dict[str, tuple[int, ...]]:
    try:
        return {key: tuple(int(n) for n in feature["shape"]) for key, feature in (config.get(name) or {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise PolicyLoadError(f"The {name} of config.json are not understood.") from error


def _steps(folder: Path, file: str) -> frozenset[str]:
    """The registered names of a processor's steps. A step may also name any class to import, and that is refused."""
    if not (folder / file).is_file():
        raise PolicyLoadError(
            f"The checkpoint has no {file}: it is of LeRobot before 0.4. Convert it with "
            "python -m lerobot.processor.migrate_policy_normalization."
        )
    names = set()
    for step in read_json(folder / file).get("steps", ()):
        name, state = step.get("registry_name"), step.get("state_file")
        if not name:
            raise PolicyLoadError(f"A step of {file} names Python to run ({step.get('class')}): it is not run.")
        if state and (Path(state).name != state or not state.endswith(".safetensors")):
            raise PolicyLoadError(f"A step of {file} reads '{state}', which is no safetensors file beside it.")
        names.add(str(name))
    return frozenset(names)
