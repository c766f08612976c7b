"""Detect anomalies: robust z-scores and an isolation forest over state, action and timing, explained.

The reference is a sample of the same window, so that a record is judged against its own collection. It is numbers only:
the forest is grown again from them, with a fixed seed, wherever a shard runs; no model is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.choices import Stage as StageName
from pipeline.stages.base import Chunks, FloatArray, RecordSpec, StageOutput, vectors

# 1 / Φ⁻¹(3/4): makes the median absolute deviation a standard deviation of normal data (Rousseeuw and Croux, 1993).
MAD_TO_SIGMA = 1.4826
# Φ⁻¹(0.95): the same of the distance between the quantiles that leave this share of the records on either side.
TAIL = 0.05
TAIL_TO_SIGMA = 1 / (2 * 1.6449)
Z_LIMIT = 6.0
# Liu, Ting and Zhou (2008): scores near 0.5 are ordinary, well above are anomalies.
FOREST_LIMIT = 0.65
MIN_REFERENCE = 32
TREES = 64
SUBSAMPLE = 256
MAX_REASONS = 3


@dataclass(frozen=True)
class AnomalyReference:
    """A sample of a window: ``float64 [records][features]``, by ``feature_names``."""

    sample: FloatArray

    @cached_property
    def center(self) -> FloatArray:
        return np.asarray(np.median(self.sample, axis=0))

    @cached_property
    def scale(self) -> FloatArray:
        """The robust standard deviation per feature, the widest of several views.

        Robots rest and then move: where a feature is still most of the time, its median deviation is next to nothing,
        and each reach would be an anomaly. So what the outer tenth of the records shows counts too. At least a
        thousandth of the feature's own size, so that what never varies does not make every rounding error an anomaly.
        """
        deviation = np.median(np.abs(self.sample - self.center), axis=0) * MAD_TO_SIGMA
        low, high = np.quantile(self.sample, (TAIL, 1 - TAIL), axis=0)
        spread = self.sample.std(axis=0)
        least = np.maximum(np.abs(self.center) * 1e-3, 1e-6)
        return np.asarray(np.max([deviation, (high - low) * TAIL_TO_SIGMA, spread * 0.1, least], axis=0))

    @cached_property
    def forest(self) -> Any:
        from sklearn.ensemble import IsolationForest

        forest = IsolationForest(n_estimators=TREES, max_samples=min(SUBSAMPLE, len(self.sample)), random_state=0)
        return forest.fit(self.sample)


def feature_names(spec: RecordSpec) -> tuple[str, ...]:
    """The columns of ``feature_matrix``."""
    return (
        *(f"state.{name}" for name in spec.state_names),
        *(f"action.{name}" for name in spec.action_names),
        *(f"action_change.{name}" for name in spec.action_names),
        "log_total_ms",
        "log_inference_ms",
    )


def feature_matrix(table: pa.Table, spec: RecordSpec) -> FloatArray:
    """``float64 [records][features]``: state, the chunk's mean, its largest change between steps, log milliseconds.

    A record without actions (rejected) counts as still.
    """
    chunks = Chunks.of(table.column("actions"), len(spec.action_names))
    steps = np.maximum(chunks.lengths, 1)[:, None]
    changes = np.abs(np.diff(chunks.rows, axis=0, prepend=chunks.rows[:1]))
    changes[chunks.offsets[:-1][chunks.lengths > 0]] = 0.0  # into a chunk's first step there is no change
    milliseconds = np.stack([table.column(name).to_numpy() for name in ("total_ms", "inference_ms")], axis=1)
    return np.hstack(
        [
            vectors(table.column("state"), len(spec.state_names)),
            chunks.reduce(np.add, chunks.rows) / steps,
            chunks.reduce(np.maximum, changes),
            np.log1p(np.maximum(milliseconds, 0.0)),
        ]
    )


@dataclass(frozen=True, slots=True)
class DetectAnomalies:
    """Adds ``anomaly_score`` (0..1, the forest's), ``anomalous`` and ``anomaly_reasons`` (the features, with their z).

    Without a reference of at least ``MIN_REFERENCE`` records nothing is judged: score null, not anomalous.
    """

    spec: RecordSpec
    reference: AnomalyReference
    name = StageName.ANOMALIES

    def __call__(self, table: pa.Table) -> StageOutput:
        count = table.num_rows
        scores: pa.Array = pa.nulls(count, pa.float64())
        anomalous = np.zeros(count, dtype=bool)
        reasons: list[list[str]] = [[] for _ in range(count)]
        if len(self.reference.sample) >= MIN_REFERENCE and count:
            names = feature_names(self.spec)
            features = feature_matrix(table, self.spec)
            z = (features - self.reference.center) / self.reference.scale
            isolation = -self.reference.forest.score_samples(features)
            extreme = np.abs(z).max(axis=1) > Z_LIMIT
            anomalous = extreme | (isolation > FOREST_LIMIT)
            for index in np.flatnonzero(anomalous):
                reasons[index] = self._reasons(names, z[index])
            scores = pa.array(np.round(isolation, 6))
        table = table.append_column("anomaly_score", scores)
        table = table.append_column("anomalous", pa.array(anomalous))
        table = table.append_column("anomaly_reasons", pa.array(reasons, pa.list_(pa.string())))
        return StageOutput(table, counts={"anomalous": int(anomalous.sum())})

    @staticmethod
    def _reasons(names: Sequence[str], z: FloatArray) -> list[str]:
        furthest = np.argsort(-np.abs(z), kind="stable")[:MAX_REASONS]
        return [f"{names[i]} z={z[i]:+.1f}" for i in furthest]
