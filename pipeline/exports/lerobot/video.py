"""MP4 files that hold the frames of many episodes, one after another."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CODEC = "h264"
PIXEL_FORMAT = "yuv420p"
# Every second frame is a key frame: training reads frames at random.
GROUP = 2
CRF = 18


class VideoFile:
    """One H.264 file. A single thread and "bitexact" make the same frames the same bytes.

    So does leaving out weighted prediction and the macroblock tree: with both, up to six files in a thousand of small
    pictures were others, by what memory had held before; without one or the other none of 10,000 was.
    """

    def __init__(self, path: Path, *, width: int, height: int, fps: int) -> None:
        import av

        self._av = av
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w", options={"fflags": "+bitexact", "movflags": "+faststart"})
        self._stream: Any = self._container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = PIXEL_FORMAT
        # Kept here: writing the header changes the stream's.
        self._time_base = self._stream.time_base = Fraction(1, fps)
        self._stream.options = {
            "crf": str(CRF),
            "g": str(GROUP),
            "preset": "veryfast",
            "threads": "1",
            "bf": "0",
            "x264-params": "weightp=0:mbtree=0",
        }
        self.frames = 0
        self.bytes = 0

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Append ``uint8 [height, width, 3]`` RGB."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = self.frames
        frame.time_base = self._time_base
        self._write(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        self._write(self._stream.encode(None))
        self._container.close()

    def _write(self, packets: list[Any]) -> None:
        self.bytes += sum(packet.size for packet in packets)
        self._container.mux(packets)


def even_size(image: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """The height and width that ``image`` has in a video: yuv420p wants even ones, at least two."""
    return max(2, image.shape[0] // 2 * 2), max(2, image.shape[1] // 2 * 2)


def fitted(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """``image`` as ``uint8 [height, width, 3]``: cut by a pixel where that suffices, resized otherwise."""
    if 0 <= image.shape[0] - height <= 1 and 0 <= image.shape[1] - width <= 1:
        return image[:height, :width]
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
