"""Vision-language models that say actions, behind the policy interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from inference.exceptions import PolicyConfigurationError, PolicyLoadError
from inference.policies import accelerator, checkpoint_folder
from inference.policies import options as read
from inference.policies.accelerator import Accelerator, AcceleratorOptions
from inference.policies.base import ActionChunk, Observation, Policy, PolicyInfo, reject_unknown_options
from inference.policies.vision_language.action_tokens import ActionStatistics, ActionTokens

if TYPE_CHECKING:
    from pathlib import Path

    from inference.policies.vision_language.model import ActionModel
    from inference.policies.vision_language.speech import Spoken

OPENVLA_PROMPT = "In: What action should the robot take to {instruction}?\nOut:"

_OPTIONS = (
    *("checkpoint", "revision", "sha256", "trust_remote_code", *accelerator.OPTIONS),
    *("unnorm_key", "prompt", "steps", "images", "image_size", "vocabulary"),
    *("cameras", "state_size", "action_names", "horizon"),
)
# Log-probabilities that differ by less are the same number, computed twice.
_SEES = 1e-3


class TransformersPolicy(Policy):
    """A vision-language model whose last words are 256 bins of an action, as OpenVLA's are.

    Options: ``checkpoint``, a folder or ``organisation/name`` on the hub, with ``revision`` there; ``sha256`` of the
    folder; ``unnorm_key``, the dataset whose statistics give the actions their units; ``prompt``, with
    ``{instruction}`` in it (OpenVLA's); ``steps``, how many actions the model says at a time (1); ``images``, how many
    of the collection's cameras it sees (1); ``image_size``; ``vocabulary``, how many words its tokenizer knows
    (what its configuration says); ``trust_remote_code``, the SHA-256 of a checkpoint whose own code may run;
    ``device``, ``dtype`` and ``compile`` as in ``AcceleratorOptions``. The collection gives cameras, state and action
    names; a camera that an observation lacks is taken to be black.
    """

    backend: ClassVar[str] = "transformers"
    follows_collection: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        reject_unknown_options(options, _OPTIONS, backend=self.backend)
        checkpoint = read.text(options, "checkpoint")
        if checkpoint is None:
            raise PolicyConfigurationError("The transformers backend needs 'checkpoint', a folder or a hub's name.")
        self._checkpoint = checkpoint
        self._revision = read.text(options, "revision")
        self._sha256 = read.sha256(options, "sha256")
        self._trusted = read.sha256(options, "trust_remote_code")
        self._place = AcceleratorOptions.read(options)
        self._dataset = read.text(options, "unnorm_key")
        self._prompt = read.text(options, "prompt") or OPENVLA_PROMPT
        if "{instruction}" not in self._prompt:
            raise PolicyConfigurationError("The option 'prompt' says with {instruction} where the instruction goes.")
        self._steps = read.count(options, "steps", default=1)
        self._vocabulary = read.optional_count(options, "vocabulary")
        self._image_size = read.image_size(options, "image_size", default=(0, 0))
        images = read.count(options, "images", default=1)
        cameras = read.names(options, "cameras") or tuple(f"image_{number}" for number in range(images))
        if len(cameras) < images:
            raise PolicyConfigurationError(f"The option 'images' is {images}; the collection's cameras are fewer.")
        self._cameras = cameras[:images]
        self._state_size = read.count(options, "state_size", default=1)
        self._action_names = read.names(options, "action_names")
        self._horizon = min(self._steps, read.optional_count(options, "horizon") or self._steps)
        self._model: ActionModel | None = None
        self._info: PolicyInfo | None = None
        self._tokens: ActionTokens
        self._statistics: ActionStatistics
        self._accelerator: Accelerator

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        return cls(options)

    @property
    def info(self) -> PolicyInfo:
        if self._info is None:
            raise PolicyLoadError("The transformers policy is not loaded.")
        return self._info

    def load(self) -> None:
        from core.torchvision_operators import define_missing_operators

        folder = checkpoint_folder.resolve(self._checkpoint, revision=self._revision)
        sha256 = checkpoint_folder.digest(folder)
        checkpoint_folder.verify(sha256, expected=self._sha256, name=self._checkpoint)
        config = checkpoint_folder.read_json(folder / "config.json")
        self._tokens = _tokens(config, self._vocabulary)
        self._statistics = ActionStatistics.choose(_statistics(folder, config), self._dataset)
        names = self._action_names or tuple(f"action_{number}" for number in range(self._statistics.dimensions))
        if len(names) != self._statistics.dimensions:
            raise PolicyLoadError(
                f"The checkpoint's actions have {self._statistics.dimensions} dimensions and the collection's action "
                f"space has {len(names)}: {', '.join(names)}."
            )
        define_missing_operators()
        self._accelerator = Accelerator(self._place, prefers_half=True, mixed=False)
        self._model = self._read(folder, config, sha256)
        self._info = PolicyInfo(
            name=folder.name,
            cameras=self._cameras,
            image_size=self._image_size if all(self._image_size) else self._model.image_size,
            state_size=self._state_size,
            action_names=names,
            horizon=self._horizon,
            metadata={**self._accelerator.describe(), "model_type": config.get("model_type"), "sha256": sha256},
        )
        self._warm_up_and_check_that_it_sees()

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        if not observations:
            return []
        spoken = self._say(observations)
        shape = (len(observations), self._horizon, self._statistics.dimensions)
        actions = self._statistics.in_units(self._tokens.normalised(spoken.tokens.reshape(shape)))
        return [
            ActionChunk(chunk, confidence=float(confidence))
            for chunk, confidence in zip(actions, spoken.confidence, strict=True)
        ]

    def close(self) -> None:
        if self._model is not None:
            self._model = None
            self._accelerator.release()

    def _read(self, folder: Path, config: Mapping[str, Any], sha256: str) -> ActionModel:
        from transformers import CONFIG_MAPPING

        from inference.policies.vision_language import remote_code
        from inference.policies.vision_language.model import ImageTextModel
        from inference.policies.vision_language.prismatic import PrismaticModel

        kind = config.get("model_type")
        if kind == "openvla":
            return PrismaticModel(folder, self._accelerator)
        brings_code = bool(remote_code.classes_named(folder)) and kind not in CONFIG_MAPPING
        if brings_code or self._trusted is not None:
            remote_code.check_permission(folder, sha256=sha256, allowed=self._trusted, name=self._checkpoint)
        return ImageTextModel(folder, self._accelerator, with_code=self._trusted is not None)

    def _say(self, observations: Sequence[Observation]) -> Spoken:
        model = self._model
        if model is None:
            raise PolicyLoadError("The transformers policy is not loaded.")
        black = np.zeros((*self.info.image_size, 3), np.uint8)
        pictures = [[seen.images.get(camera, black) for camera in self._cameras] for seen in observations]
        prompts = [self._prompt.replace("{instruction}", seen.instruction.lower()) for seen in observations]
        count = self._horizon * self._statistics.dimensions
        return self._accelerator.run(
            lambda: model.say(pictures, prompts, count=count, tokens=self._tokens), batch=len(observations)
        )

    def _warm_up_and_check_that_it_sees(self) -> None:
        """Black and white must not be answered alike: a model put together wrongly drives blind, and fluently."""
        pictures = [np.full((*self.info.image_size, 3), shade, np.uint8) for shade in (0, 255)]
        state = np.zeros(self._state_size, np.float32)
        looks = [
            Observation(dict.fromkeys(self._cameras, picture), state, "pick up the object") for picture in pictures
        ]
        black, white = (self._say([look]) for look in looks)
        if np.abs(black.first - white.first).max() < _SEES:
            self.close()
            raise PolicyLoadError(
                "The model does not see: it answers a black image and a white one alike. Its code or its processor "
                "does not fit the installed transformers library."
            )
        for size in self._accelerator.warm_up_sizes[1:]:
            self._say(looks[:1] * size)


def _tokens(config: Mapping[str, Any], vocabulary: int | None) -> ActionTokens:
    text = config.get("text_config") or config
    bins = int(config.get("n_action_bins") or 256)
    # A vocabulary is rounded up for the accelerator's sake; the words added so are never said.
    words = vocabulary or int(text.get("vocab_size") or 0) - int(config.get("pad_to_multiple_of") or 0)
    if words < bins:
        raise PolicyLoadError("The checkpoint does not say how many words it knows: give 'vocabulary'.")
    return ActionTokens(words, bins)


def _statistics(folder: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    known = config.get("norm_stats")
    return known if isinstance(known, dict) else checkpoint_folder.read_json(folder / "dataset_statistics.json")
