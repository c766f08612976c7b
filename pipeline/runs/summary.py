"""What the manifest says of all records together, put together from what is known of each shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline import origins
from pipeline.runs.statistics import RunningStatistics
from pipeline.stages.base import Chunks, RecordSpec, vectors


class Summary:
    """Statistics of states and actions, policy versions and annotators, of any number of records."""

    def __init__(self, spec: RecordSpec) -> None:
        self.spec = spec
        self._states = RunningStatistics(spec.state_names)
        self._actions = RunningStatistics(spec.action_names)
        self._versions: Counter[str] = Counter()
        self._annotators: Counter[str] = Counter()

    def add(self, table: pa.Table) -> None:
        """Count the records of a table of ``PROCESSED_SCHEMA``."""
        if not table.num_rows:
            return
        self._states.add(vectors(table.column("state"), len(self.spec.state_names)))
        self._actions.add(Chunks.of(table.column("actions"), len(self.spec.action_names)).rows)
        self._versions.update(origins.policy_versions(table))
        self._annotators.update(origins.annotators(table))

    def merge(self, other: Mapping[str, Any]) -> None:
        """Count what ``as_json`` told of other records. Sums of floats follow the order of the calls."""
        self._states.merge(other["states"])
        self._actions.merge(other["actions"])
        self._versions.update(other["versions"])
        self._annotators.update(other["annotators"])

    def as_json(self) -> dict[str, Any]:
        return {
            "states": self._states.as_json(),
            "actions": self._actions.as_json(),
            "versions": dict(self._versions),
            "annotators": dict(self._annotators),
        }

    def report(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "policy_versions": dict(sorted(self._versions.items())),
            "annotators": dict(sorted(self._annotators.items())),
            "statistics": {"state": self._states.report(), "action": self._actions.report()},
        }
