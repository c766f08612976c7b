from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from inference.exceptions import PolicyConfigurationError, PolicyLoadError
from inference.policies.base import Observation
from inference.policies.replay import ReplayPolicy

EPISODE = Path(__file__).with_name("episode.jsonl")
OPTIONS = {"path": str(EPISODE), "state_size": 2, "action_names": "x,y,grip", "horizon": 4}


def loaded(**changes: Any) -> ReplayPolicy:
    policy = ReplayPolicy.from_options({**OPTIONS, **changes})
    policy.load()
    return policy


def at(*state: float) -> Observation:
    return Observation({}, np.array(state, np.float32), "pick up the red cube")


def test_the_chunk_of_the_nearest_recorded_state_is_said_again() -> None:
    (chunk,) = loaded(episode="e1").infer([at(0.21, 0.8)])

    np.testing.assert_allclose(chunk.actions[:, 0], [0.02, 0.03, 0.04, 0.05], atol=1e-6)


def test_only_the_episode_that_was_asked_for_is_replayed() -> None:
    far = at(9.0, 9.0)

    assert loaded().infer([far])[0].actions[0, 0] == pytest.approx(0.9)
    assert loaded(episode="e1").infer([far])[0].actions[0, 0] < 0.1


def test_a_rejected_record_is_left_out() -> None:
    (chunk,) = loaded(episode="e1").infer([at(0.6, 0.4)])

    assert chunk.actions[0, 0] == pytest.approx(0.05)


def test_records_are_read_from_a_folder_as_storage_keeps_them(tmp_path: Path) -> None:
    for line in EPISODE.read_text().splitlines():
        record = json.loads(line)
        folder = tmp_path / "raw" / record["episode"] / str(record["step"])
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(line)

    np.testing.assert_array_equal(
        loaded(path=str(tmp_path)).infer([at(0.3, 0.7)])[0].actions, loaded().infer([at(0.3, 0.7)])[0].actions
    )


def test_a_runs_parquet_is_an_episode_too(tmp_path: Path) -> None:
    records = [json.loads(line) for line in EPISODE.read_text().splitlines()]
    parquet.write_table(pa.Table.from_pylist(records), tmp_path / "batch_001.parquet")

    policy = loaded(path=str(tmp_path / "batch_001.parquet"))

    np.testing.assert_array_equal(policy.infer([at(0.3, 0.7)])[0].actions, loaded().infer([at(0.3, 0.7)])[0].actions)


@pytest.mark.parametrize(
    "changes", [{"path": "/nowhere.jsonl"}, {"episode": "e9"}, {"state_size": 3}, {"horizon": 9}, {"action_names": "x"}]
)
def test_what_does_not_fit_is_refused_when_loaded(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyLoadError):
        loaded(**changes)


def test_a_path_is_needed() -> None:
    with pytest.raises(PolicyConfigurationError, match="path"):
        ReplayPolicy.from_options({})
