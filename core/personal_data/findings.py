from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of personal data: ``text[start:end]`` is of ``kind`` (Presidio's entity names), with a score 0..1."""

    kind: str
    start: int
    end: int
    score: float


def without_overlaps(findings: Iterable[Finding]) -> list[Finding]:
    """The findings in order of position; where two overlap, the surer one, then the longer one."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (-f.score, f.start - f.end, f.start)):
        if all(finding.end <= other.start or finding.start >= other.end for other in kept):
            kept.append(finding)
    return sorted(kept, key=lambda f: f.start)
