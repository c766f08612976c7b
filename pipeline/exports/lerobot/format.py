"""LeRobotDataset v3.0 (docs/exports.md, "LeRobot"): many episodes per Parquet file and per video.

What a loader takes silently and wrongly is kept by construction: frames of an episode are contiguous, ``index`` counts
them all, ``timestamp`` is ``frame_index / fps``, tasks are rows in the order of ``task_index`` under a pandas index
called "task", an episode's row is at its ``episode_index``, and the Parquet columns are the non-video features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.exports.lerobot.dataset import DatasetWriter, EpisodeFrames
from pipeline.images.published import PublishedImages
from pipeline.stages.base import RecordSpec

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Record:
    """One record as a frame: ``state`` is ``float32 [state]``, ``action`` ``float32 [dimensions]``."""

    state: Vector
    action: Vector
    intervention: bool
    images: Mapping[str, str]
    seconds: float
    instruction: str
    policy_version: str


@dataclass(frozen=True, slots=True)
class _Episode:
    identifier: str
    name: str
    robot: str
    outcome: str
    records: list[_Record]


class LeRobotFormat:
    """Collects what frames need but their images, then writes: the frame rate is known only when all was seen."""

    def __init__(self, folder: Path, spec: RecordSpec, images: PublishedImages) -> None:
        self._folder = folder
        self._spec = spec
        self._images = images
        self._episodes: list[_Episode] = []
        self._left_out: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        for row in table.to_pylist(maps_as_pydicts="strict"):
            if row["episode_id"] is None:
                self._left_out["frames_without_an_episode"] += 1
                continue
            actions = row["corrected_actions"] or row["actions"]
            if not actions:
                self._left_out["frames_without_an_action"] += 1
                continue
            if not self._episodes or self._episodes[-1].identifier != row["episode_id"]:
                self._episodes.append(_episode(row))
            self._episodes[-1].records.append(_record(row, actions[0]))

    def close(self) -> Mapping[str, Any]:
        cameras = [c for c in self._spec.cameras if any(c in r.images for e in self._episodes for r in e.records)]
        with DatasetWriter(self._folder, self._spec, cameras, fps=frame_rate(self._episodes)) as writer:
            for episode in self._episodes:
                self._write(episode, writer, cameras)
            written = writer.finish()
        return {**written, "left_out": dict(sorted(self._left_out.items()))}

    def _write(self, episode: _Episode, writer: DatasetWriter, cameras: Sequence[str]) -> None:
        frames = EpisodeFrames(
            name=episode.name,
            robot=episode.robot,
            outcome=episode.outcome,
        )
        for record in episode.records:
            images = self._fetch(record, cameras)
            if images is None:
                self._left_out["frames_without_an_image"] += 1
                continue
            writer.add_images(images)
            frames.add(record.state, record.action, record.intervention, record.instruction, record.policy_version)
        if len(frames):
            writer.add_episode(frames)

    def _fetch(self, record: _Record, cameras: Sequence[str]) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The frame's image per camera; None where one is missing, because a video cannot have a hole."""
        images = {}
        for camera in cameras:
            key = record.images.get(camera)
            image = None if key is None else self._images.fetch(key)
            if image is None:
                return None
            images[camera] = image
        return images


def frame_rate(episodes: Sequence[_Episode]) -> int:
    """Observations per second: from the median pause between successive ones, a whole number, at least 1."""
    pauses = [np.diff([record.seconds for record in episode.records]) for episode in episodes]
    positive = [pause for part in pauses for pause in part if pause > 0]
    return max(1, round(1.0 / float(np.median(positive)))) if positive else 1


def _episode(row: Mapping[str, Any]) -> _Episode:
    return _Episode(
        identifier=row["episode_id"],
        name=row["episode"] or "",
        robot=row["robot"] or "",
        outcome=row["outcome"] or "",
        records=[],
    )


def _record(row: Mapping[str, Any], action: Sequence[float]) -> _Record:
    return _Record(
        state=np.array(row["state"], dtype=np.float32),
        action=np.array(action, dtype=np.float32),
        intervention=row["corrected_actions"] is not None,
        images=row["images"],
        seconds=row["created_at"].timestamp(),
        instruction=row["instruction"] or "",
        policy_version=f"{row['policy_name']}@{row['policy_version']}",
    )
