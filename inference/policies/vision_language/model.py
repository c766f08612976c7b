"""A vision-language model of the transformers library that says action tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from inference.exceptions import PolicyLoadError
from inference.policies.accelerator import Accelerator
from inference.policies.base import ImageArray
from inference.policies.vision_language import remote_code
from inference.policies.vision_language.action_tokens import ActionTokens
from inference.policies.vision_language.speech import Spoken, speak

_EYES = ("vision_tower", "vision_model", "visual", "vision_backbone")


class ActionModel(Protocol):
    """What a family of models offers."""

    image_size: tuple[int, int]

    def say(
        self, pictures: Sequence[Sequence[ImageArray]], prompts: Sequence[str], *, count: int, tokens: ActionTokens
    ) -> Spoken:
        """``count`` action tokens for each observation: its pictures, ``uint8 [height, width, 3]``, and its prompt."""


class ImageTextModel:
    """Any model that transformers knows as image-text-to-text (PaliGemma, LLaVA, Idefics...), with its processor.

    With ``with_code`` the checkpoint's own classes are run; they are asked for one observation at a time, because
    OpenVLA's, the best known, answers no more than one.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, *, with_code: bool) -> None:
        import transformers

        self._accelerator = accelerator
        self._one_at_a_time = with_code
        roles = remote_code.classes_named(folder) if with_code else {}
        library: Any = transformers
        loader = library.AutoModelForImageTextToText
        if "AutoModelForVision2Seq" in roles:
            loader = library.AutoModelForVision2Seq
        with reading_checkpoint(folder):
            self._processor = library.AutoProcessor.from_pretrained(
                folder, trust_remote_code=with_code, local_files_only=True
            )
            self._network, report = loader.from_pretrained(
                folder,
                dtype=accelerator.weights_dtype,
                use_safetensors=True,
                trust_remote_code=with_code,
                local_files_only=True,
                output_loading_info=True,
            )
        if report["missing_keys"]:
            raise PolicyLoadError(
                f"The checkpoint '{folder.name}' lacks weights, such as {sorted(report['missing_keys'])[0]}."
            )
        self._processor.tokenizer.padding_side = "left"
        if self._processor.tokenizer.pad_token is None:
            self._processor.tokenizer.pad_token = self._processor.tokenizer.eos_token
        # A prompt grows with every word that is said, and each new length would be compiled while a robot waits.
        accelerator.place(self._network, compiled=_eyes(self._network))
        # A tokenizer may give more than the network takes, which generate() refuses.
        self._understood = inspect.signature(self._network.forward).parameters.keys()
        self.image_size = _image_size(self._processor)

    def say(
        self, pictures: Sequence[Sequence[ImageArray]], prompts: Sequence[str], *, count: int, tokens: ActionTokens
    ) -> Spoken:
        if self._one_at_a_time and len(prompts) > 1:
            return Spoken.joined(
                [
                    self.say([seen], [prompt], count=count, tokens=tokens)
                    for seen, prompt in zip(pictures, prompts, strict=True)
                ]
            )
        marker = getattr(self._processor, "image_token", None) or ""
        texts = [
            prompt if marker and marker in prompt else marker * len(seen) + prompt
            for seen, prompt in zip(pictures, prompts, strict=True)
        ]
        images = [list(seen) for seen in pictures]
        inputs = self._processor(text=texts, images=images, return_tensors="pt", padding=True)
        return speak(self._network, self._sent(inputs), count=count, tokens=tokens)

    def _sent(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        sent = {name: self._accelerator.send(inputs[name]) for name in inputs if name in self._understood}
        dtype = self._accelerator.weights_dtype
        return {name: values.to(dtype) if values.is_floating_point() else values for name, values in sent.items()}


@contextmanager
def reading_checkpoint(folder: Path) -> Iterator[None]:
    """Whatever the library raises over a checkpoint's files becomes ``PolicyLoadError``."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise PolicyLoadError(f"The checkpoint '{folder.name}' cannot be loaded: {reason}") from error


def _eyes(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The image encoder, under one of the names that transformers has for it."""
    named = dict(network.named_modules())
    outermost = sorted((path for path in named if path.rpartition(".")[2] in _EYES), key=lambda path: path.count("."))
    return [named[outermost[0]]] if outermost else []


def _image_size(processor: Any) -> tuple[int, int]:
    """Height and width that the image processor makes of any picture."""
    settings = processor.image_processor
    for name in ("crop_size", "size"):
        size = dict(getattr(settings, name, None) or {})
        if "height" in size and "width" in size:
            return int(size["height"]), int(size["width"])
        for edge in ("shortest_edge", "longest_edge"):
            if edge in size:
                return int(size[edge]), int(size[edge])
    return 224, 224
