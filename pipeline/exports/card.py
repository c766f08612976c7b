"""The dataset card: what a stranger must know before training on an export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILES = {
    "parquet": "`data.parquet`: a row per record; open it with pandas, DuckDB or pyarrow.",
    "csv": "`data.csv`: a row per record; lists are JSON. Texts that a spreadsheet would take for formulas have an "
    "apostrophe in front.",
    "lerobot": "A LeRobotDataset v3.0 (`meta/`, `data/`, `videos/`). A frame is one observation; its `action` is the "
    "first action of the chunk that was sent, or the human's where `intervention` is true.",
    "preferences": "`preferences.jsonl`: a line per correction. `prompt`, `chosen` (human), `rejected` (policy) are "
    "texts, as TRL's trainers take them; `chosen_actions` and `rejected_actions` are the numbers.",
}


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """A manifest in words, as Markdown with the front matter that dataset hubs read."""
    space = manifest["action_space"]
    counts = manifest["counts"]
    lines = [
        "---",
        "tags: [robotics, vision-language-action]",
        f"pretty_name: {manifest['collection']}",
        "---",
        f"# {manifest['collection']}",
        "",
        FILES[manifest["format"]],
        "",
        f"{counts['exported']} records of {counts['read']} chosen; {counts['invalid']} were invalid and left out.",
        "`manifest.json` has the query, every count, and the SHA-256 of each file.",
        "",
        "## Action space",
        "",
        f"{space['rate_hz']:g} Hz, chunks of {space['horizon']} steps.",
        "",
        "| Action | Unit |",
        "| --- | --- |",
        *(f"| {name} | {unit or '1'} |" for name, unit in zip(space["names"], space["units"], strict=True)),
        "",
        "State: "
        + ", ".join(
            f"{name} [{unit or '1'}]" for name, unit in zip(space["state_names"], space["state_units"], strict=True)
        )
        + ".",
        "",
        "## Where it comes from",
        "",
        _list("Policy versions", manifest["policy_versions"]),
        _list("Annotators (pseudonyms)", manifest["annotators"]),
        "",
        "## Personal data",
        "",
        "Texts were searched for personal data, images for text and faces; what was found is replaced or covered. "
        "People are pseudonyms that differ from collection to collection.",
        "",
        _list("Replaced in texts", manifest["personal_data_replaced"]),
        _list("Images", counts["images"]),
        "",
    ]
    return "\n".join(lines)


def _list(title: str, counts: Mapping[str, Any]) -> str:
    entries = ", ".join(f"{name}: {count}" for name, count in counts.items())
    return f"- {title}: {entries or 'none'}"
