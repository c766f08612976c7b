"""Redaction of images: how many a second one core covers, by engine, size, and whether there is text.

    python -m benchmarks.pipeline_redaction [--seconds 8]

The text engines are RapidOCR and, where its weights are installed (``EASYOCR_MODULE_PATH``), EasyOCR; faces are found
by Haar cascades beside either. A process of its own, held to one core, measures each. Prints a table and writes
``var/bench/pipeline_redaction.json``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.results import save, say

Image = npt.NDArray[np.uint8]
SIZES = ((224, 224), (640, 480))  # width, height
LINES = ("FRAGILE 42-17", "Anna Lindqvist", "bench 3, shelf B", "call 555 0142")
IMAGES = 8  # of a kind, in turns, so that no cache knows the one that comes
FINDERS = ("faces", "rapidocr", "easyocr")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of work for each figure")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for name in FINDERS:
        with context.Pool(1, _hold_to_one_core) as pool:
            rows += pool.apply(measure, (name, options.seconds))
    save("pipeline_redaction", {"rows": rows})


def measure(name: str, seconds: float) -> list[dict[str, Any]]:
    """One row for each size, without and with text; none where ``name`` is not installed."""
    from pipeline.images.regions import HaarFaces

    faces = HaarFaces()
    finder = faces if name == "faces" else text_engine(name)
    if finder is None:
        say(f"{name} is not installed.")
        return []
    rows = []
    for width, height in SIZES:
        for lines in (0, len(LINES)):
            images = [picture(width, height, lines, seed) for seed in range(IMAGES)]
            regions = [len(finder.find(image)) for image in images]  # warms up, too
            row = {
                "finder": name,
                "size": f"{width}×{height}",
                "text": bool(lines),
                "regions": round(sum(regions) / IMAGES, 1),
                "find_rate": _rate(finder.find, images, seconds),
                "whole_rate": None if finder is faces else _redaction_rate(finder, faces, images, seconds),
            }
            say(f"{row}")
            rows.append(row)
    return rows


def text_engine(name: str) -> Any:
    """The engine of this name; None where it is not installed."""
    from pipeline.images import regions

    if name == regions.RapidOcrText.name:
        return regions.RapidOcrText()
    installed = regions.text_finder()
    return installed if installed.name == name else None


def picture(width: int, height: int, lines: int, seed: int) -> Image:
    """``uint8 [height, width, 3]`` RGB: blurred blocks of colour with noise, and so many lines of text."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    random = np.random.default_rng(seed)
    blocks = random.integers(40, 216, size=(6, 8, 3), dtype=np.uint8)
    image = Pillow.fromarray(blocks).resize((width, height), Pillow.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=height / 14)
    for number, line in enumerate(LINES[:lines]):
        place = (width * random.uniform(0.05, 0.3), height * (0.1 + 0.2 * number))
        draw.text(place, line, font=font, fill=(10, 10, 10), stroke_width=1, stroke_fill=(245, 245, 245))
    noisy = np.asarray(image, dtype=np.float32) + random.normal(0.0, 4.0, size=(height, width, 3))
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def _redaction_rate(text: Any, faces: Any, images: list[Image], seconds: float) -> float:
    """From one JPEG to the covered one: text, faces and the two codecs."""
    from pipeline.images import redaction

    def redact(data: bytes) -> None:
        redaction.encode(redaction.redact(redaction.decode(data), text=text, faces=faces).image)

    return _rate(redact, [redaction.encode(image) for image in images], seconds)


def _rate(work: Callable[[Any], Any], inputs: Sequence[Any], seconds: float) -> float:
    """How often a second ``work`` is done: whole rounds over ``inputs``, for at least ``seconds``."""
    done = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for given in inputs:
            work(given)
        done += len(inputs)
    return round(done / elapsed, 2)


def _hold_to_one_core() -> None:
    """Before anything is loaded that asks how many cores there are."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ.update(OMP_NUM_THREADS="1", DJANGO_SETTINGS_MODULE="vla_project.settings.test")
    import cv2

    cv2.setNumThreads(1)


if __name__ == "__main__":
    main()
