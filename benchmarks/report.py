"""The tables of docs/performance.md, from ``var/bench/*.json``: nothing in them is typed by hand.

    python -m benchmarks.report

What stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` is replaced where ``var/bench/NAME.json`` exists;
the text around it stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.results import FOLDER, say

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def write() -> None:
    """Put the latest figures into the page."""
    page = PAGE.read_text(encoding="utf-8")
    for name, tables in TABLES.items():
        source = FOLDER / f"{name}.json"
        if not source.exists():
            continue
        figures = json.loads(source.read_text())
        page = _replaced(page, name, "\n".join([*_machine(figures), *tables(figures)]))
        say(f"{name}: {PAGE.name} has the figures of {source.name}.")
    PAGE.write_text(page, encoding="utf-8")


def _replaced(page: str, name: str, text: str) -> str:
    head, begin, rest = page.partition(f"<!-- begin {name} -->\n")
    _, end, tail = rest.partition(f"<!-- end {name} -->")
    if not end:
        raise ValueError(f"{PAGE.name} has no place for {name}.")
    return f"{head}{begin}\n{text}\n\n{end}{tail}"


def _machine(figures: dict[str, Any]) -> list[str]:
    if "machine" not in figures:
        return []
    machine = figures["machine"]
    return [
        f"Measured {figures['measured_at'][:16].replace('T', ' ')} UTC on {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}; the machine's load average at the end was {machine['load_average']}.",
        "",
    ]


def _inference(figures: dict[str, Any]) -> list[str]:
    rows = figures["rows"]
    lines = _table(
        (
            *("server", "robots", "requests/s", "of the ceiling", "mean batch", "accelerator busy"),
            *("p50 ms", "p95 ms", "p99 ms", "load average"),
        ),
        (
            (
                row["server"],
                row["robots"],
                f"{row['rate']:.0f}",
                f"{row['of_ceiling']:.0%}",
                row["mean_batch"] or "–",
                f"{row['accelerator_busy']:.0%}" if row["accelerator_busy"] else "–",
                row["p50_ms"],
                row["p95_ms"],
                row["p99_ms"],
                row["load_average"],
            )
            for row in rows
        ),
    )
    names = list(dict.fromkeys(name for row in rows for name in row["cpu_ms_per_request"]))
    lines += ["", "CPU milliseconds for each request, by process (`load` is the generator's own):", ""]
    lines += _table(
        ("server", "robots", *names),
        (
            (row["server"], row["robots"], *(f"{row['cpu_ms_per_request'].get(name, 0):.2f}" for name in names))
            for row in rows
        ),
    )
    return lines


def _path(figures: dict[str, Any]) -> list[str]:
    lines = _table(
        ("process", "CPU ms a request", "requests/s per core"),
        ((row["process"], row["cpu_ms"], row["per_core"]) for row in figures["processes"]),
    )
    lines += ["", "One step of the path, alone, in microseconds of CPU for one request:", ""]
    return lines + _table(("step", "µs"), ((row["step"], row["us"]) for row in figures["steps"]))


def _memory(figures: dict[str, Any]) -> list[str]:
    about = (
        f"{figures['robots']} robots for {figures['seconds']:.0f} s, {figures['rate']} requests/s, load average "
        f"{figures['load_average']}. The first third is warm-up and counts for nothing in the growth."
    )
    return [
        about,
        "",
        *_table(
            ("process", "MB at the start", "MB when warm", "MB at the end", "growth, MB an hour", "bytes a request"),
            (list(row.values()) for row in figures["rows"]),
        ),
    ]


def _pipeline(figures: dict[str, Any]) -> list[str]:
    rows = figures["rows"]
    alone = {row["round"]: row["seconds"] for row in rows if row["workers"] == 1}
    lines = _table(
        ("round", "workers", "written", "refused", "seconds", "records/s", "times one worker", "MB before", "peak MB"),
        (
            (
                row["round"],
                row["workers"],
                f"{row['records']:,}",
                f"{row['quarantined']:,}",
                row["seconds"],
                f"{row['rate']:,}",
                f"{alone[row['round']] / row['seconds']:.2f}",
                row["idle_mb"],
                row["peak_mb"],
            )
            for row in rows
        ),
    )
    for workers in sorted({row["workers"] for row in rows} - {1}):
        times = median(alone[row["round"]] / row["seconds"] for row in rows if row["workers"] == workers)
        lines += ["", f"{workers} workers take {times:.2f} times the records of one, the median of the rounds."]
    stages = list(rows[0]["stages"])
    lines += ["", "Where the time goes, in seconds; those of the stages are summed over the workers:", ""]
    return lines + _table(
        ("round", "workers", "planning", "shards", "publishing", *stages),
        (
            (
                row["round"],
                row["workers"],
                row["planning"],
                row["shards"],
                row["publishing"],
                *(row["stages"][s] for s in stages),
            )
            for row in rows
        ),
    )


def _pipeline_redaction(figures: dict[str, Any]) -> list[str]:
    return _table(
        ("finder", "image", "text", "regions found", "found in, images/s", "redacted, images/s"),
        (
            (
                row["finder"],
                row["size"],
                "four lines" if row["text"] else "none",
                row["regions"],
                row["find_rate"],
                "" if row["whole_rate"] is None else row["whole_rate"],
            )
            for row in figures["rows"]
        ),
    )


def _search(figures: dict[str, Any]) -> list[str]:
    about = (
        f"{figures['vectors']:,} vectors; the index takes {figures['index_bytes'] / 1e6:.0f} MB and "
        f"{figures['build_seconds']:.0f} s to build; {figures['texts_per_second']:.0f} texts a second are embedded, "
        f"{figures['texts_per_core_second']:.0f} a second of one core."
    )
    return [
        about,
        "",
        *_table(
            ("rows", "recall@10", "index p50 ms", "p95 ms", "whole search p50 ms", "p95 ms", "asked again p95 ms"),
            (
                (
                    row["filter"],
                    f"{row['recall']:.3f}",
                    *(f"{taken[name]:.1f}" for taken in (row, whole) for name in ("p50_ms", "p95_ms")),
                    f"{whole['again_p95_ms']:.1f}",
                )
                for row, whole in zip(figures["rows"], figures["whole"], strict=True)
            ),
        ),
    ]


def _arrival(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['each']} of each; the very first text, for which a worker loads the model, "
        f"was found after {figures['first_seconds']} s.",
        "",
        *_table(
            ("what arrives", "robots at work", "found after, p50 s", "worst s"),
            ((row["what"], row["robots"], row["p50"], row["worst"]) for row in figures["rows"]),
        ),
    ]


def _feedback_queue(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['open_tasks']:,} open tasks; every annotator has {figures['history']:,} answers of the last week.",
        "",
        *_table(
            ("operation", "p50 ms", "p95 ms", "target ms"),
            ((row["operation"], row["p50_ms"], row["p95_ms"], f"{row['target_ms']:.0f}") for row in figures["rows"]),
        ),
    ]


def _admin_lists(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['results']:,} inference results, a tenth of it in each other large table. *First* is the first "
        "request for the page, before PostgreSQL and the caches have seen what it needs.",
        "",
        *_table(
            ("visitor", "page", "first ms", "p50 ms"),
            ((row["visitor"], row["list"], row["first_ms"], row["p50_ms"]) for row in figures["rows"]),
        ),
    ]


def _viewers(figures: dict[str, Any]) -> list[str]:
    lines = _table(
        ("viewers", "requests/s", "p50 ms", "p95 ms", "p99 ms", "web CPU", "web MB", "results/s to a viewer"),
        (
            (
                row["viewers"],
                row["rate"],
                row["p50_ms"],
                row["p95_ms"],
                row["p99_ms"],
                f"{row['web_cpu']:.0%}",
                row["web_mb"],
                row["per_viewer"],
            )
            for row in figures["rows"]
        ),
    )
    slow = figures["slow"]
    return [
        *lines,
        "",
        f"One of {slow['viewers']} viewers stops reading for {slow['seconds']:.0f} s:",
        "",
        *_table(
            ("", "results/s to the others", "their worst gap ms", "web MB"),
            ((row["when"], row["per_viewer"], row["worst_gap_ms"], row["web_mb"]) for row in slow["rows"]),
        ),
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('---' if number == 0 else '---:' for number in range(len(heads)))} |",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
    ]


TABLES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "inference": _inference,
    "path": _path,
    "memory": _memory,
    "pipeline": _pipeline,
    "pipeline_redaction": _pipeline_redaction,
    "search": _search,
    "arrival": _arrival,
    "feedback_queue": _feedback_queue,
    "admin_lists": _admin_lists,
    "viewers": _viewers,
}


if __name__ == "__main__":
    write()
