"""Image encoders of the CLIP kind: pictures, and the words for them, as unit vectors of one space.

Workers encode pictures with transformers; the web process encodes the words of a query with the same weights in numpy
(``image_text.py``); a test holds the two to the same vectors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from django.conf import settings

from pipeline.embeddings.encoders import Encoder, EncoderUnavailableError, TextModel, Vectors

if TYPE_CHECKING:
    from PIL import Image

BATCH = 16


class ImageEncoder(Protocol):
    """``name`` and ``revision`` are stored with each vector, as those of a text ``Encoder``."""

    name: str
    revision: str

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """``float32 [images][dimensions]``, each of length 1."""
        ...


class TransformersImageEncoder:
    """CLIP, SigLIP or SigLIP 2 from a folder, on the CPU."""

    def __init__(self, folder: Path, name: str, revision: str) -> None:
        from core.torchvision_operators import define_missing_operators

        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        define_missing_operators()
        from transformers import AutoImageProcessor, AutoModel

        self.name, self.revision = name, revision
        load_processor: Any = AutoImageProcessor.from_pretrained
        self._processor = load_processor(folder, local_files_only=True, use_fast=False)
        model: Any = AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False)  # nosec B615
        self._model = model.eval()

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        import torch

        vectors = []
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                part = [image.convert("RGB") for image in images[start : start + BATCH]]
                pixels = self._processor(images=part, return_tensors="pt")["pixel_values"]
                vectors.append(self._model.get_image_features(pixel_values=pixels).float().numpy())
        stacked = np.concatenate(vectors)
        return np.asarray(stacked / np.linalg.norm(stacked, axis=1, keepdims=True), dtype=np.float32)


def image_model() -> TextModel | None:
    """The model that ``IMAGE_EMBEDDING_MODEL_PATH`` names, whose revision is the folder's name; None where none is."""
    if not settings.IMAGE_EMBEDDING_MODEL_PATH:
        return None
    folder = Path(settings.IMAGE_EMBEDDING_MODEL_PATH)
    return TextModel(_kind(folder), folder.name, str(folder))


@cache
def image_encoder(model: TextModel) -> ImageEncoder:
    """For workers. Raises ``EncoderUnavailableError``."""
    return TransformersImageEncoder(_folder(model), model.name, model.revision)


@cache
def image_query_encoder(model: TextModel) -> Encoder:
    """For the web process: loads no torch. Raises ``EncoderUnavailableError``."""
    from pipeline.embeddings.image_text import NumpyImageText

    return NumpyImageText(_folder(model), model.name, model.revision)


def _folder(model: TextModel) -> Path:
    folder = Path(model.folder)
    if not (folder / "model.safetensors").is_file():
        raise EncoderUnavailableError(f"IMAGE_EMBEDDING_MODEL_PATH: {folder} has no model.safetensors.")
    return folder


@cache
def _kind(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text())["model_type"])
    except (OSError, ValueError, KeyError):
        return "unknown"
