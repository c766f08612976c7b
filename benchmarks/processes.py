"""What processes cost: CPU seconds and resident memory of a process and all its descendants, from /proc."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(root: int) -> list[int]:
    """``root`` and every living process below it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(root: int, name: Callable[[str], str]) -> dict[str, float]:
    """User and system seconds so far, summed by ``name(command line)``."""
    return _summed(root, name, lambda fields: (int(fields[11]) + int(fields[12])) / _TICKS)


def resident_mb(root: int, name: Callable[[str], str]) -> dict[str, float]:
    """Resident megabytes now, summed by ``name(command line)``; what processes share counts for each."""
    return _summed(root, name, lambda fields: int(fields[21]) * _PAGE / 1e6)


def _summed(root: int, name: Callable[[str], str], value: Callable[[list[str]], float]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for pid in descendants(root):
        fields = _stat(pid)
        if fields:
            label = name(_command_line(pid))
            totals[label] = totals.get(label, 0.0) + value(fields)
    return totals


def _stat(pid: int) -> list[str]:
    """Fields of proc(5)'s stat from the third (state) on; nothing where the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
