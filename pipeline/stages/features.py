"""Features: what an episode was like, repeated on each of its records, and what a record's moment was like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.choices import Stage as StageName
from pipeline.stages.base import FloatArray, RecordSpec, StageOutput, episode_spans, vectors

# A step that changes every state entry by less than this share of what the episode spans is idle.
IDLE_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """Answers in each minute: ``results[i]`` of them in ``minutes[i]`` after 1970; both ``int64 [n]``, ascending."""

    minutes: npt.NDArray[np.int64]
    results: npt.NDArray[np.int64]

    def at(self, minutes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The answers in each of ``minutes``; none where a minute is not known."""
        if not len(self.minutes):
            return np.zeros(len(minutes), dtype=np.int64)
        places = np.minimum(np.searchsorted(self.minutes, minutes), len(self.minutes) - 1)
        return np.where(self.minutes[places] == minutes, self.results[places], 0)


@dataclass(frozen=True, slots=True)
class AddFeatures:
    """Adds, per record, of its episode: ``episode_length`` (records), ``episode_seconds``, ``path_length`` (sum of the
    Euclidean distances between successive states, in mixed state units), ``smoothness`` (minus the mean magnitude of
    the states' second difference, so that higher is smoother), ``idle_share`` (of its steps), ``interventions``
    (corrected records) and ``success`` (null while unknown); null without an episode. And of its moment:
    ``hour_of_day`` (UTC), ``queue_share`` (waiting time as a share of the whole) and ``queue_load`` (answers that the
    collection's robots got in that minute). Expects whole episodes in the order of their steps.
    """

    spec: RecordSpec
    load: QueueLoad
    name = StageName.FEATURES

    def __call__(self, table: pa.Table) -> StageOutput:
        count = table.num_rows
        states = vectors(table.column("state"), len(self.spec.state_names))
        corrected = table.column("corrected_actions").is_valid().to_numpy()
        intervened = table.column("intervention").to_numpy(zero_copy_only=False).astype(bool)
        seconds = table.column("created_at").cast(pa.int64()).to_numpy() / 1e6
        outcomes = table.column("outcome").to_pylist()
        columns = {name: np.full(count, np.nan) for name in _EPISODE_COLUMNS}
        success: list[bool | None] = [None] * count
        known = 0
        for span in episode_spans(table):
            known += 1
            for name, value in _describe(states[span], seconds[span]).items():
                columns[name][span] = value
            columns["interventions"][span] = (corrected | intervened)[span].sum()
            if outcome := outcomes[span.start]:
                success[span] = [outcome == "success"] * (span.stop - span.start)
        for name in _EPISODE_COLUMNS:
            table = table.append_column(name, pa.array(columns[name], from_pandas=True))
        table = table.append_column("success", pa.array(success, pa.bool_()))
        table = table.append_column("hour_of_day", pc.hour(table.column("created_at")))
        total = np.maximum(table.column("total_ms").to_numpy(), 1e-9)
        share = np.clip(table.column("queue_ms").to_numpy() / total, 0.0, 1.0)
        table = table.append_column("queue_share", pa.array(np.round(share, 6)))
        table = table.append_column("queue_load", pa.array(self.load.at((seconds // 60).astype(np.int64))))
        return StageOutput(table, counts={"episodes": known})


_EPISODE_COLUMNS = (
    "episode_length",
    "episode_seconds",
    "path_length",
    "smoothness",
    "idle_share",
    "interventions",
)


def _describe(states: FloatArray, seconds: FloatArray) -> dict[str, float]:
    """Aggregates of one episode: ``states`` is ``float64 [records][state]``, ``seconds`` ``float64 [records]``."""
    moves = np.diff(states, axis=0)
    span = np.ptp(states, axis=0)
    idle = (np.abs(moves) <= IDLE_SHARE * np.maximum(span, 1e-9)).all(axis=1) if len(moves) else np.zeros(0)
    bends = np.diff(states, n=2, axis=0)
    return {
        "episode_length": float(len(states)),
        "episode_seconds": float(seconds.max() - seconds.min()),
        "path_length": float(np.linalg.norm(moves, axis=1).sum()) if len(moves) else 0.0,
        "smoothness": -float(np.linalg.norm(bends, axis=1).mean()) if len(bends) else 0.0,
        "idle_share": float(idle.mean()) if len(idle) else 0.0,
    }
