"""Check images: whole, not black, not frozen, not seen before."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from pipeline.choices import Stage as StageName
from pipeline.stages.base import FloatArray, RecordSpec, Rejection, StageOutput, vectors

# Images are compared as grey thumbnails of this many pixels on a side.
SIDE = 32
# Grey levels of 255: darker and flatter than this is black; closer to the image before than this is the same image.
BLACK_LEVEL = 6.0
SAME_LEVEL = 0.35
# The robot has moved when a state entry changed by more than this share of its span in the table.
MOVED_SHARE = 0.02

BLACK = "camera_black"
REMARKS = frozenset({BLACK, "camera_frozen", "image_repeated", "cameras_alike"})

Thumbnail = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CheckImages:
    """Refuses records with an image that is gone or broken; remarks in ``quality``

    - ``camera_black``;
    - ``camera_frozen``: the robot moved, the picture did not;
    - ``image_repeated``: an earlier step of the episode, with the robot elsewhere, had the same bytes of this camera;
    - ``cameras_alike``: two cameras gave the same bytes.

    ``fetch`` gives an object's bytes or raises ``FileNotFoundError``.

    Of a record whose raw pictures were purged, what had been remarked of them stands: covers hide what they showed.
    """

    spec: RecordSpec
    fetch: Callable[[str], bytes]
    name = StageName.IMAGES

    def __call__(self, table: pa.Table) -> StageOutput:
        images = [dict(pairs) for pairs in table.column("images").to_pylist()]
        if not any(images):
            return StageOutput(table)
        quality = table.column("quality").to_pylist()
        remembered = table.column("camera_remarks").to_pylist()
        states = vectors(table.column("state"), len(self.spec.state_names))
        least = MOVED_SHARE * np.maximum(np.ptp(states, axis=0), 1e-9)
        episodes = table.column("episode_id").to_pylist()
        rejections: dict[int, Rejection] = {}
        seen: dict[str, Thumbnail] = {}
        first: dict[tuple[str, bytes], int] = {}  # where the episode had a camera's bytes first
        ids = table.column("id").to_pylist()
        checked = 0
        for index, keys in enumerate(images):
            if index == 0 or episodes[index] is None or episodes[index] != episodes[index - 1]:
                seen, first = {}, {}
            moved = index > 0 and _moved(states[index - 1], states[index], least)
            digests = []
            for camera, key in keys.items():
                checked += 1
                try:
                    data = self.fetch(key)
                    thumbnail = _thumbnail(data)
                except (FileNotFoundError, UnidentifiedImageError, OSError, ValueError) as error:
                    rejections[index] = Rejection(ids[index], "image_unreadable", f"{camera}: {type(error).__name__}")
                    continue
                if remembered[index] is not None:
                    seen[camera] = thumbnail
                    continue
                remark = _remark(thumbnail, seen.get(camera) if moved else None)
                if remark != BLACK:  # black pictures are all the same
                    digests.append(hashlib.blake2b(data, digest_size=16).digest())
                    before = first.setdefault((camera, digests[-1]), index)
                    if not remark and _moved(states[before], states[index], least):
                        remark = "image_repeated"
                quality[index] += [remark] if remark else []
                seen[camera] = thumbnail
            if index in rejections:
                continue
            quality[index] += remembered[index] or []
            if len(set(digests)) < len(digests):
                quality[index].append("cameras_alike")
        table = table.set_column(
            table.schema.get_field_index("quality"), "quality", pa.array(quality, pa.list_(pa.string()))
        )
        keep = pa.array([index for index in range(table.num_rows) if index not in rejections], pa.int64())
        remarks = Counter(remark for found in quality for remark in found if remark in REMARKS)
        return StageOutput(table.take(keep), tuple(rejections.values()), {"images": checked, **remarks})


def _thumbnail(data: bytes) -> Thumbnail:
    """``float32 [SIDE][SIDE]`` in grey levels. Reads the whole image, so that a truncated one is noticed."""
    with Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"]) as image:
        image.draft("L", (2 * SIDE, 2 * SIDE))  # JPEG decodes to a fraction of its size at a fraction of the cost
        return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)


def _remark(thumbnail: Thumbnail, before: Thumbnail | None) -> str:
    """What is odd about a picture, or nothing; ``before`` is the one that it should not be like."""
    if thumbnail.mean() < BLACK_LEVEL and thumbnail.std() < BLACK_LEVEL:
        return BLACK
    if before is not None and np.abs(thumbnail - before).mean() < SAME_LEVEL:
        return "camera_frozen"
    return ""


def _moved(before: FloatArray, now: FloatArray, least: FloatArray) -> bool:
    """Whether an entry of the state changed by more than its ``least``."""
    return bool((np.abs(now - before) > least).any())
