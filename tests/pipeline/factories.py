"""Records of robots at work, with what may be wrong with them."""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from PIL import Image

from collections_app.models import Collection, Episode
from core import object_store
from inference.models import InferenceResult
from tests.factories import EpisodeFactory, InferenceResultFactory, PolicyVersionFactory, RobotFactory

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def make_episode(
    collection: Collection,
    *,
    steps: int = 5,
    start: datetime = START,
    instruction: str = "pick up the red cube",
    outcome: str = "",
    images: bool = False,
    **values: Any,
) -> tuple[Episode, list[InferenceResult]]:
    """An episode of ``steps`` records, four a second, moving smoothly inside the limits."""
    robot = values.pop("robot", None) or RobotFactory(collection=collection)
    policy = values.pop("policy_version", None) or PolicyVersionFactory()
    episode = EpisodeFactory(
        collection=collection, robot=robot, instruction=instruction, outcome=outcome, started_at=start
    )
    results = []
    for step in range(steps):
        phase = step / 10
        results.append(
            InferenceResultFactory(
                collection=collection,
                robot=robot,
                episode=episode,
                policy_version=policy,
                step=step,
                instruction=instruction,
                input_state=[round(math.sin(phase + joint), 6) for joint in range(7)],
                output_actions=[[round(0.01 * math.cos(phase + d + h), 6) + 0.05 for d in range(7)] for h in range(8)],
                images=make_images(collection, step) if images else {},
                created_at=start + timedelta(milliseconds=250 * step),
                total_ms=24.0 + step % 3,
                **values,
            )
        )
    return episode, results


def make_images(collection: Collection, step: int) -> dict[str, str]:
    """A stored JPEG per camera, different at every step."""
    keys = {}
    for number, camera in enumerate(collection.cameras):
        key = f"raw/2026-11-20/collection_{collection.slug}/{step}-{number}-{collection.pk}/{camera}.jpg"
        object_store.put(key, jpeg(64, 48, shade=20 * step + 60 * number))
        keys[camera] = key
    return keys


def jpeg(width: int, height: int, *, shade: int = 0, **options: Any) -> bytes:
    """A smooth picture that changes with ``shade``."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([(x * 3 + shade) % 200, (y * 4 + shade) % 200, np.full_like(x, shade % 200)], axis=-1)
    return jpeg_of(pixels.astype(np.uint8), **options)


def jpeg_of(pixels: np.ndarray, **options: Any) -> bytes:
    """``uint8 [height, width, 3]`` RGB as a JPEG."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG", quality=90, **options)
    return sink.getvalue()
