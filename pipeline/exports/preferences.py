"""The format ``preferences``: pairs for preference training, a JSON object a line (TRL's preference type).

``prompt`` is what the policy saw; ``chosen`` is the human's chunk, ``rejected`` the policy's. A chunk that nobody
corrected is no pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from pipeline.stages.base import RecordSpec


class PreferencesFormat:
    """``preferences.jsonl``."""

    def __init__(self, folder: Path, spec: RecordSpec, images: Any) -> None:
        self._file = (folder / "preferences.jsonl").open("wb")
        self._spec = spec
        self._pairs = 0
        self._without = 0

    def add(self, table: pa.Table) -> None:
        for row in table.to_pylist(maps_as_pydicts="strict"):
            policy = row["proposed_actions"] or row["actions"]
            human = row["corrected_actions"]
            if human is None or not policy or human == policy:
                self._without += 1
                continue
            self._file.write(orjson.dumps(self._pair(row, human, policy), option=orjson.OPT_APPEND_NEWLINE))
            self._pairs += 1

    def close(self) -> Mapping[str, Any]:
        self._file.close()
        return {"pairs": self._pairs, "records_without_a_pair": self._without}

    def _pair(self, row: Mapping[str, Any], human: Any, policy: Any) -> dict[str, Any]:
        return {
            "prompt": {
                "instruction": row["instruction"],
                "state": row["state"],
                "state_names": self._spec.state_names,
                "images": row["images"],
            },
            "chosen": human,
            "rejected": policy,
            "action_names": self._spec.action_names,
            "action_units": self._spec.action_units,
            "request_id": row["request_id"],
            "episode": row["episode"],
            "step": row["step"],
            "annotator": row["corrected_by"],
            "policy_version": f"{row['policy_name']}@{row['policy_version']}",
        }
