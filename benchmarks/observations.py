"""What the benchmark's robots see: observations of two 224×224 JPEG views, packed once, before anything is measured."""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
import orjson
from PIL import Image

from inference.robot_api import openpi_msgpack

CAMERAS = ("base", "wrist")
SIDE = 224
DIFFERENT_VIEWS = 32
STATE_SIZE = 7
INSTRUCTION = "pick up the red cube"


@cache
def view(seed: int) -> bytes:
    """A JPEG file of ``SIDE`` × ``SIDE`` pixels and about 16 kB: a smooth scene with a camera's noise."""
    generator = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 3, SIDE), np.linspace(0, 3, SIDE))
    phases = generator.uniform(0, 6, 3)
    scene = 128 + 90 * np.sin(across[..., None] + phases) * np.cos(down[..., None] + phases)
    pixels = np.clip(scene + generator.normal(0, 8, scene.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def json_body(robot: int, frame: int, *, model: str) -> bytes:
    """A body of ``POST /api/v1/inference``."""
    return orjson.dumps(
        {
            "collection": "bench",
            "robot": f"arm-{robot}",
            "episode": "bench",
            "step": frame,
            "instruction": INSTRUCTION,
            "state": _state(robot, frame),
            "images": {camera: base64.b64encode(image).decode() for camera, image in _views(robot, frame).items()},
            "model": model,
        }
    )


def msgpack_frame(robot: int, frame: int, *, model: str) -> bytes:
    """An observation of the openpi protocol whose images are JPEG files."""
    return openpi_msgpack.pack(
        {
            "prompt": INSTRUCTION,
            "state": np.array(_state(robot, frame), np.float32),
            "images": _views(robot, frame),
            "robot": f"arm-{robot}",
            "episode": "bench",
            "step": frame,
            "model": model,
        }
    )


def _views(robot: int, frame: int) -> dict[str, bytes]:
    return {camera: view((7 * robot + 2 * frame + number) % DIFFERENT_VIEWS) for number, camera in enumerate(CAMERAS)}


def _state(robot: int, frame: int) -> list[float]:
    return [round(0.01 * joint + 0.001 * robot + 0.0001 * frame, 6) for joint in range(STATE_SIZE)]
