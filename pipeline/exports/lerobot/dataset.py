"""The files of a LeRobotDataset v3.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exports.lerobot import statistics
from pipeline.exports.lerobot.video import CODEC, CRF, GROUP, PIXEL_FORMAT, VideoFile, even_size, fitted
from pipeline.stages.base import RecordSpec

VERSION = "v3.0"
CHUNK_FILES = 1000
DATA_MEGABYTES = 100
VIDEO_MEGABYTES = 200
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"

Vector = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

SCALARS: Mapping[str, tuple[str, Any]] = {
    "timestamp": ("float32", pa.float32()),
    "frame_index": ("int64", pa.int64()),
    "episode_index": ("int64", pa.int64()),
    "index": ("int64", pa.int64()),
    "task_index": ("int64", pa.int64()),
    "next.reward": ("float32", pa.float32()),
    "next.done": ("bool", pa.bool_()),
    "next.success": ("bool", pa.bool_()),
    "intervention": ("bool", pa.bool_()),
}


@dataclass(slots=True)
class EpisodeFrames:
    """One episode's frames without their images."""

    name: str
    robot: str
    outcome: str
    states: list[Vector] = field(default_factory=list)
    actions: list[Vector] = field(default_factory=list)
    interventions: list[bool] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    policy_versions: dict[str, None] = field(default_factory=dict)

    def add(self, state: Vector, action: Vector, intervention: bool, instruction: str, policy_version: str) -> None:
        self.states.append(state)
        self.actions.append(action)
        self.interventions.append(intervention)
        self.instructions.append(instruction)
        self.policy_versions[policy_version] = None

    def __len__(self) -> int:
        return len(self.states)


class DatasetWriter:
    """Writes episodes in order: all images of one with ``add_images``, frame by frame, then ``add_episode``."""

    def __init__(self, folder: Path, spec: RecordSpec, cameras: Sequence[str], *, fps: int) -> None:
        self._folder = folder
        self._spec = spec
        self._fps = fps
        self._videos = {f"observation.images.{camera}": _Videos(folder, camera, fps) for camera in cameras}
        self._data = _DataFiles(folder, _data_schema(spec))
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._frames = 0
        self._numbers: dict[str, list[npt.NDArray[Any]]] = {}

    def add_images(self, images: Mapping[str, Image]) -> None:
        """The next frame's images, ``uint8 [height, width, 3]`` RGB, by camera."""
        for camera, image in images.items():
            self._videos[f"observation.images.{camera}"].add(image)

    def add_episode(self, frames: EpisodeFrames) -> None:
        columns = self._columns(frames)
        place = self._data.write(columns)
        found = {name: statistics.of_vectors(_two_dimensional(values)) for name, values in columns.items()}
        row: dict[str, Any] = {
            "episode_index": len(self._episodes),
            "tasks": list(dict.fromkeys(frames.instructions)),
            "length": len(frames),
            "data/chunk_index": place[0],
            "data/file_index": place[1],
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + len(frames),
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "success": frames.outcome == "success" if frames.outcome else None,
            "outcome": frames.outcome,
            "robot": frames.robot,
            "episode": frames.name,
            "policy_versions": ", ".join(frames.policy_versions),
            "interventions": sum(frames.interventions),
        }
        for key, video in self._videos.items():
            row.update(video.end_episode(key))
            found[key] = video.episode_statistics
        for name, entries in found.items():
            row.update({f"stats/{name}/{entry}": values.tolist() for entry, values in entries.items()})
        for name, values in columns.items():
            self._numbers.setdefault(name, []).append(values)
        self._episodes.append(row)
        self._frames += len(frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._data.close()
        for video in self._videos.values():
            video.close()

    def finish(self) -> dict[str, Any]:
        """Write ``meta/``. Returns counts for the manifest."""
        meta = self._folder / "meta"
        (meta / "episodes/chunk-000").mkdir(parents=True, exist_ok=True)
        if self._episodes:
            pq.write_table(pa.Table.from_pylist(self._episodes), self._folder / EPISODES_PATH)
        _write_tasks(meta / "tasks.parquet", list(self._tasks))
        _write_json(meta / "info.json", self._info())
        _write_json(meta / "stats.json", self._statistics())
        return {
            "episodes": len(self._episodes),
            "frames": self._frames,
            "tasks": len(self._tasks),
            "fps": self._fps,
            "cameras": [key.removeprefix("observation.images.") for key in self._videos],
        }

    def _columns(self, frames: EpisodeFrames) -> dict[str, npt.NDArray[Any]]:
        count = len(frames)
        number = np.arange(count, dtype=np.int64)
        last = number == count - 1
        success = last & (frames.outcome == "success")
        tasks = [self._tasks.setdefault(text, len(self._tasks)) for text in frames.instructions]
        return {
            "observation.state": np.stack(frames.states),
            "action": np.stack(frames.actions),
            "timestamp": (number / self._fps).astype(np.float32),
            "frame_index": number,
            "episode_index": np.full(count, len(self._episodes), dtype=np.int64),
            "index": number + self._frames,
            "task_index": np.array(tasks, dtype=np.int64),
            "next.reward": success.astype(np.float32),
            "next.done": last,
            "next.success": success,
            "intervention": np.array(frames.interventions, dtype=bool),
        }

    def _info(self) -> dict[str, Any]:
        robots = sorted({row["robot"] for row in self._episodes})
        return {
            "codebase_version": VERSION,
            "robot_type": robots[0] if len(robots) == 1 else None,
            "fps": self._fps,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": DATA_MEGABYTES,
            "video_files_size_in_mb": VIDEO_MEGABYTES,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._videos else None,
            "features": {
                "observation.state": _vector_feature(self._spec.state_names, self._spec.state_units),
                "action": _vector_feature(self._spec.action_names, self._spec.action_units),
                **{name: {"dtype": dtype, "shape": [1], "names": None} for name, (dtype, _) in SCALARS.items()},
                **{key: video.feature() for key, video in self._videos.items()},
            },
        }

    def _statistics(self) -> dict[str, Any]:
        found = {
            name: statistics.of_vectors(_two_dimensional(np.concatenate(parts)))
            for name, parts in self._numbers.items()
        }
        for key, video in self._videos.items():
            if video.frames:
                found[key] = video.statistics()
        return {name: {entry: values.tolist() for entry, values in entries.items()} for name, entries in found.items()}


class _Videos:
    """The video files of one camera; a new one begins when the last has grown large enough."""

    def __init__(self, folder: Path, camera: str, fps: int) -> None:
        self._folder = folder
        self._key = f"observation.images.{camera}"
        self._fps = fps
        self._size: tuple[int, int] | None = None
        self._file: VideoFile | None = None
        self._number = 0
        self._first = 0
        self._pixels: list[Image] = []
        self._all_pixels: list[Image] = []
        self.frames = 0
        self.episode_statistics: statistics.Statistics = {}

    def add(self, image: Image) -> None:
        self._size = self._size or even_size(image)
        image = fitted(image, *self._size)
        if self._file is None:
            height, width = self._size
            self._file = VideoFile(self._path(), width=width, height=height, fps=self._fps)
            self._first = 0
        self._file.add(image)
        self._pixels.append(statistics.sample_pixels(image))
        self.frames += 1

    def end_episode(self, key: str) -> dict[str, Any]:
        """Where in which file the episode just added lies, as columns of its row."""
        assert self._file is not None
        length = self._file.frames - self._first
        row = {
            f"videos/{key}/chunk_index": self._number // CHUNK_FILES,
            f"videos/{key}/file_index": self._number % CHUNK_FILES,
            f"videos/{key}/from_timestamp": self._first / self._fps,
            f"videos/{key}/to_timestamp": self._file.frames / self._fps,
        }
        every = max(1, length // statistics.SAMPLED_FRAMES)
        sample = np.concatenate(self._pixels[::every])
        self.episode_statistics = statistics.of_pixels(sample, length)
        self._all_pixels.append(sample)
        self._pixels = []
        self._first = self._file.frames
        if self._file.bytes > VIDEO_MEGABYTES << 20:
            self.close()
            self._number += 1
        return row

    def feature(self) -> dict[str, Any]:
        height, width = self._size or (0, 0)
        return {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": CODEC,
                "video.pix_fmt": PIXEL_FORMAT,
                "video.fps": self._fps,
                "video.channels": 3,
                "video.g": GROUP,
                "video.crf": CRF,
                "has_audio": False,
                "is_depth_map": False,
            },
        }

    def statistics(self) -> statistics.Statistics:
        return statistics.of_pixels(np.concatenate(self._all_pixels), self.frames)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _path(self) -> Path:
        return self._folder / VIDEO_PATH.format(
            video_key=self._key, chunk_index=self._number // CHUNK_FILES, file_index=self._number % CHUNK_FILES
        )


class _DataFiles:
    """The Parquet files of the frames; a row group per episode, a new file when the last has grown large enough."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._number = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, columns: Mapping[str, npt.NDArray[Any]]) -> tuple[int, int]:
        """Write an episode. Returns the indices of the chunk and the file it went to."""
        place = divmod(self._number, CHUNK_FILES)
        path = self._folder / DATA_PATH.format(chunk_index=place[0], file_index=place[1])
        if self._writer is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, self._schema, compression="snappy")
        arrays = [_array(columns[entry.name], entry.type) for entry in self._schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        if path.stat().st_size > DATA_MEGABYTES << 20:
            self.close()
            self._number += 1
        return place

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _data_schema(spec: RecordSpec) -> pa.Schema:
    return pa.schema(
        [
            ("observation.state", pa.list_(pa.float32(), len(spec.state_names))),
            ("action", pa.list_(pa.float32(), len(spec.action_names))),
            *((name, kind) for name, (_, kind) in SCALARS.items()),
        ]
    )


def _array(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), kind.list_size)
    return pa.array(values, kind)


def _two_dimensional(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.reshape(len(values), -1)


def _vector_feature(names: Sequence[str], units: Sequence[str]) -> dict[str, Any]:
    """Values stay in the collection's units, a gripper's too: nothing is normalised or turned round."""
    return {"dtype": "float32", "shape": [len(names)], "names": list(names), "info": {"units": list(units)}}


def _write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Looked up by position, and by name through the pandas index: the loader needs both."""
    import pandas as pd

    index = pd.Index(list(tasks), name="task", dtype=object)
    pd.DataFrame({"task_index": np.arange(len(tasks), dtype=np.int64)}, index=index).to_parquet(path)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
