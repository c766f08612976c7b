from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pytest_django import Settings

from core.personal_data import patterns
from pipeline.embeddings import encoders, file, indexing, search
from pipeline.exports import writer
from pipeline.runs import shards
from pipeline.storage import purging


class WordsEncoder:
    """Texts that share words are near to each other: the mean of a random vector per word."""

    name = encoders.MODEL_NAME

    def __init__(self, revision: str = "test") -> None:
        self.revision = revision
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.encoded += texts
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> npt.NDArray[np.float32]:
        words = [f"{self.revision} {word}" for word in text.lower().split()]
        seeds = [int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") for word in words]
        total = np.sum([np.random.default_rng(seed).normal(size=384) for seed in seeds], axis=0)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[WordsEncoder]:
    """An encoder that loads nothing, in place of the real one; another model's vectors are unlike its own."""
    fake = WordsEncoder()
    fakes = {encoders.current_model(): fake}

    def encoder_of(model: encoders.TextModel) -> WordsEncoder:
        return fakes.setdefault(model, WordsEncoder(model.revision))

    monkeypatch.setattr(indexing, "indexing_encoder", encoder_of)
    monkeypatch.setattr(search, "query_encoder", encoder_of)
    search._query_vector.cache_clear()
    yield fake
    search._query_vector.cache_clear()


@pytest.fixture(autouse=True)
def light_detector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Personal data is found by patterns alone: Presidio takes twenty seconds to load. Tests marked ``ml`` have it."""
    if "ml" not in request.keywords:
        monkeypatch.setattr(shards, "detect", patterns.detect)
        monkeypatch.setattr(writer, "detect", patterns.detect)
        monkeypatch.setattr(purging, "detect", patterns.detect)
        monkeypatch.setattr(file, "detect", patterns.detect)


@pytest.fixture(autouse=True)
def objects(settings: Settings, tmp_path: Path) -> Path:
    """Object storage of this test's own."""
    folder = tmp_path / "objects"
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {
            "BACKEND": "core.object_store.LocalObjectStorage",
            "OPTIONS": {"location": folder, "allow_overwrite": True},
        },
    }
    return folder
