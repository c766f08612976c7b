"""Checkpoints of LeRobot 0.4 (ACT, Diffusion, SmolVLA, pi0) behind the policy interface. LeRobot is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from inference.exceptions import PolicyConfigurationError, PolicyError, PolicyLoadError
from inference.policies import accelerator, checkpoint_folder
from inference.policies import options as read
from inference.policies.accelerator import Accelerator, AcceleratorOptions
from inference.policies.base import ActionChunk, FloatArray, Observation, Policy, PolicyInfo, reject_unknown_options
from inference.policies.lerobot.checkpoint import CLASSES, POSTPROCESSOR, PREPROCESSOR, Described

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_OPTIONS = (
    *("checkpoint", "revision", "sha256", "seed", "vlm", *accelerator.OPTIONS),
    *("cameras", "state_size", "action_names", "horizon"),
)


class LerobotPolicy(Policy):
    """A policy that was taught with LeRobot, with the normalisation of its own checkpoint.

    Options: ``checkpoint``, a folder or ``organisation/name`` on the hub, with ``revision`` there; ``sha256`` of the
    folder; ``seed`` (0), of the noise that Diffusion, SmolVLA and pi0 start from; ``vlm``, where SmolVLA's
    vision-language model lies, if not where its checkpoint says; ``device``, ``dtype`` and ``compile`` as in
    ``AcceleratorOptions``. The collection names the actions; its cameras are the policy's, in their order, and a camera
    that an observation lacks is taken to be black. Of a longer chunk than the collection's horizon the first steps
    are taken.
    """

    backend: ClassVar[str] = "lerobot"
    follows_collection: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        reject_unknown_options(options, _OPTIONS, backend=self.backend)
        checkpoint = read.text(options, "checkpoint")
        if checkpoint is None:
            raise PolicyConfigurationError("The lerobot backend needs 'checkpoint', a folder or a hub's name.")
        self._checkpoint = checkpoint
        self._revision = read.text(options, "revision")
        self._sha256 = read.sha256(options, "sha256")
        self._seed = int(read.number(options, "seed", default=0))
        self._vlm = read.text(options, "vlm")
        self._place = AcceleratorOptions.read(options)
        self._cameras = read.names(options, "cameras")
        self._state_size = read.optional_count(options, "state_size")
        self._action_names = read.names(options, "action_names")
        self._horizon = read.optional_count(options, "horizon")
        self._policy: Any = None
        self._before: Any = None
        self._after: Any = None
        self._info: PolicyInfo | None = None
        self._described: Described
        self._accelerator: Accelerator

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        return cls(options)

    @property
    def info(self) -> PolicyInfo:
        if self._info is None:
            raise PolicyLoadError("The lerobot policy is not loaded.")
        return self._info

    def load(self) -> None:
        folder = checkpoint_folder.resolve(self._checkpoint, revision=self._revision)
        sha256 = checkpoint_folder.digest(folder)
        checkpoint_folder.verify(sha256, expected=self._sha256, name=self._checkpoint)
        described = self._described = Described.read(folder)
        names = self._fitting_names(described)
        self._accelerator = Accelerator(self._place)
        try:
            self._policy = self._read(folder, described)
            self._before, self._after = self._processors(folder, described)
        except PolicyError:
            raise
        except Exception as error:  # LeRobot, draccus and transformers raise whatever they like over a checkpoint
            reason = str(error).strip().split("\n", 1)[0]
            raise PolicyLoadError(f"The checkpoint '{folder.name}' cannot be loaded: {reason}") from error
        nothing = Observation({}, np.zeros(described.state_size or 1, np.float32), "")
        produced = self._chunks([nothing]).shape[1]
        for size in self._accelerator.warm_up_sizes[1:]:
            self._chunks([nothing] * size)
        self._info = PolicyInfo(
            name=folder.name,
            cameras=tuple(described.cameras),
            image_size=next(iter(described.cameras.values())),
            state_size=described.state_size or self._state_size or 1,
            action_names=names,
            horizon=min(produced, self._horizon or produced),
            metadata={**self._accelerator.describe(), "type": described.kind, "steps": produced, "sha256": sha256},
        )

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        if not observations:
            return []
        horizon = self.info.horizon
        return [ActionChunk(np.ascontiguousarray(chunk[:horizon])) for chunk in self._chunks(observations)]

    def close(self) -> None:
        if self._policy is not None:
            self._policy = self._before = self._after = None
            self._accelerator.release()

    # --- loading ---

    def _fitting_names(self, described: Described) -> tuple[str, ...]:
        """The collection's names of the actions. Raises ``PolicyLoadError``: its shape is not the policy's."""
        names = self._action_names or tuple(f"action_{number}" for number in range(described.dimensions))
        if len(names) != described.dimensions:
            raise PolicyLoadError(
                f"The policy's actions have {described.dimensions} dimensions and the collection's action space has "
                f"{len(names)}: {', '.join(names)}."
            )
        if self._state_size is not None and described.state_size not in (0, self._state_size):
            raise PolicyLoadError(
                f"The policy's state has {described.state_size} numbers and the collection's {self._state_size}."
            )
        if self._cameras is not None and len(self._cameras) < len(described.cameras):
            raise PolicyLoadError(
                f"The policy has {len(described.cameras)} cameras ({', '.join(described.cameras)}) and the collection "
                f"{len(self._cameras)}."
            )
        return names

    def _read(self, folder: Path, described: Described) -> Any:
        module, _, name = CLASSES[described.kind].partition(":")
        try:
            from core.torchvision_operators import define_missing_operators

            define_missing_operators()
            policy_class = getattr(import_module(module), name)
            from lerobot.configs.policies import PreTrainedConfig
        except ImportError as error:
            raise PolicyLoadError(
                f"The lerobot backend needs LeRobot, and Python finds no '{error.name}'. Install it beside the project "
                "with pip install --no-deps -r requirements/lerobot.txt."
            ) from error
        if described.kind == "pi0":
            _check_that_pi0_can_run()
        config = PreTrainedConfig.from_pretrained(folder, local_files_only=True)
        config.device = str(self._accelerator.device)
        config.pretrained_path = None
        # The checkpoint has all the weights; LeRobot would fetch others first, only to write over them.
        for setting, value in (("pretrained_backbone_weights", None), ("load_vlm_weights", False)):
            if hasattr(config, setting):
                setattr(config, setting, value)
        if self._vlm and hasattr(config, "vlm_model_name"):
            config.vlm_model_name = self._vlm
        if hasattr(config, "compile_model"):
            config.compile_model = self._place.compile
        policy = policy_class.from_pretrained(folder, config=config, local_files_only=True, strict=True)
        _check_that_weights_were_taken(policy, folder)
        self._accelerator.place(policy, compiled=[policy.model] if described.kind == "act" else [], converts=False)
        return policy

    def _processors(self, folder: Path, described: Described) -> tuple[Any, Any]:
        """The pipelines before and after the policy: names, batches, normalisation and, for some, the tokenizer."""
        from lerobot.processor import PolicyProcessorPipeline, converters

        changed = {"device_processor": {"device": str(self._accelerator.device)}}
        if self._vlm:
            changed["tokenizer_processor"] = {"tokenizer_name": self._vlm}
        before = PolicyProcessorPipeline.from_pretrained(
            folder,
            config_filename=PREPROCESSOR,
            local_files_only=True,
            overrides={name: values for name, values in changed.items() if name in described.steps},
            to_transition=converters.batch_to_transition,
            to_output=converters.transition_to_batch,
        )
        after = PolicyProcessorPipeline.from_pretrained(
            folder,
            config_filename=POSTPROCESSOR,
            local_files_only=True,
            to_transition=converters.policy_action_to_transition,
            to_output=converters.transition_to_policy_action,
        )
        return before, after

    # --- inference ---

    def _chunks(self, observations: Sequence[Observation]) -> FloatArray:
        """``float32 [batch, steps, dimensions]`` in the units that the policy was taught in."""
        if self._policy is None:
            raise PolicyLoadError("The lerobot policy is not loaded.")
        from inference.policies.lerobot.sampling import sample

        def compute() -> FloatArray:
            batch = self._before(self._batch(observations))
            actions = sample(self._policy, batch, kind=self._described.kind, seed=self._seed)
            found: FloatArray = self._after(actions.float()).float().cpu().numpy()
            return found

        return self._accelerator.run(compute, batch=len(observations))

    def _batch(self, observations: Sequence[Observation]) -> dict[str, Any]:
        batch: dict[str, Any] = {"task": [observation.instruction for observation in observations]}
        if self._described.state_size:
            states = np.stack([observation.state for observation in observations])
            batch["observation.state"] = self._accelerator.send(states)
        for camera, size in self._described.cameras.items():
            batch[f"observation.images.{camera}"] = self._pictures(camera, size, observations)
        return batch

    def _pictures(self, camera: str, size: tuple[int, int], observations: Sequence[Observation]) -> Tensor:
        """``float32 [batch, 3, height, width]`` in 0..1, as LeRobot's data sets have them."""
        from torch.nn import functional

        sizes = [seen.images[camera].shape for seen in observations if camera in seen.images]
        black = np.zeros(sizes[0] if sizes else (*size, 3), np.uint8)
        stacked = np.stack([seen.images.get(camera, black) for seen in observations])
        shares = self._accelerator.send(stacked).permute(0, 3, 1, 2).float() / 255
        if tuple(shares.shape[2:]) == size:
            return shares
        # Images arrive in the first camera's size; the others may have been taught in another.
        return functional.interpolate(shares, size=size, mode="bilinear", antialias=True, align_corners=False)


def _check_that_pi0_can_run() -> None:
    """LeRobot 0.4 runs pi0 on a changed transformers only, and says so after it has built three billion weights."""
    try:
        import_module("transformers.models.siglip.check")
    except ImportError as error:
        raise PolicyLoadError(
            "LeRobot runs pi0 on its own build of transformers only (its extra 'pi'), which is not installed. Or "
            "have openpi's server run it, behind the openpi backend."
        ) from error


def _check_that_weights_were_taken(policy: Any, folder: Path) -> None:
    """Raise ``PolicyLoadError`` unless ``policy`` has the checkpoint's numbers: pi0 goes on with random ones."""
    import torch
    from safetensors import safe_open

    loaded = policy.state_dict()
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = {name: name if name in loaded else f"model.{name}" for name in file.keys()}  # noqa: SIM118
        known = {name: own for name, own in names.items() if own in loaded}
        same = all(
            torch.equal(loaded[own].cpu(), file.get_tensor(name).to(loaded[own].dtype)) for name, own in known.items()
        )
    if not known or not same:
        raise PolicyLoadError("LeRobot did not take over the checkpoint's weights.")
