"""The format ``preferences``: pairs for preference training, a JSON object a line.

``prompt``, ``chosen`` (the human's chunk) and ``rejected`` (the policy's) are texts: TRL's preference type, so that
``datasets.load_dataset("json", …)`` goes into its trainers as it is. ``chosen_actions`` and
``rejected_actions`` are the same chunks as numbers, ``[horizon][dimension]`` in the collection's units, for policies
that do not speak in tokens. A chunk that nobody corrected is no pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from pipeline.runs.parquet import with_named_images
from pipeline.stages.base import RecordSpec


class PreferencesFormat:
    """``preferences.jsonl``."""

    def __init__(self, folder: Path, spec: RecordSpec, images: Any) -> None:
        self._file = (folder / "preferences.jsonl").open("wb")
        self._spec = spec
        self._pairs = 0
        self._without = 0

    def add(self, table: pa.Table) -> None:
        for row in with_named_images(table).to_pylist(maps_as_pydicts="strict"):
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
            "prompt": f"{row['instruction'] or ''}\nstate: {_text(row['state'])}\nactions:",
            "chosen": _text(human),
            "rejected": _text(policy),
            "instruction": row["instruction"],
            "state": row["state"],
            "images": row["images"],
            "chosen_actions": human,
            "rejected_actions": policy,
            "state_names": self._spec.state_names,
            "state_units": self._spec.state_units,
            "action_names": self._spec.action_names,
            "action_units": self._spec.action_units,
            "request_id": row["request_id"],
            "episode": row["episode"],
            "step": row["step"],
            "annotator": row["corrected_by"],
            "corrected_at": row["corrected_at"],
            "correction_seconds": row["correction_seconds"],
            "policy_version": f"{row['policy_name']}@{row['policy_version']}",
        }


def _text(numbers: Any) -> str:
    """A vector or a chunk as JSON, the same on both sides of a pair."""
    return orjson.dumps(numbers).decode()
