"""Personal data in text: found, named by kind, and replaced, so that what is stored holds the kind and not the value.

``anonymise`` is cheap enough for a web request: it loads no language model. Workers that have the heavy libraries pass
``detect=presidio.detect`` and find more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.personal_data.findings import Finding
from core.personal_data.patterns import detect as detect_patterns

__all__ = ["Anonymised", "Finding", "anonymise"]


@dataclass(frozen=True, slots=True)
class Anonymised:
    """``text`` with each finding replaced by ``<KIND>``; ``kinds`` counts what was replaced."""

    text: str
    kinds: dict[str, int]


def anonymise(text: str, *, detect: Callable[[str], Sequence[Finding]] = detect_patterns) -> Anonymised:
    """Replace what ``detect`` finds in ``text``. Its findings are ordered and do not overlap."""
    findings = detect(text)
    parts: list[str] = []
    position = 0
    for finding in findings:
        parts += (text[position : finding.start], f"<{finding.kind}>")
        position = finding.end
    return Anonymised("".join([*parts, text[position:]]), dict(Counter(finding.kind for finding in findings)))
