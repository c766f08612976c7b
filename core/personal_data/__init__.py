"""Personal data in text: found, named by kind, and replaced, so that what is stored holds the kind and not the value.

``anonymise`` is cheap enough for a web request: it loads no language model. Workers that have the heavy libraries pass
``detect=presidio.detect`` and find more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.personal_data.findings import Finding
from core.personal_data.patterns import detect as detect_patterns

__all__ = ["KINDS", "Anonymised", "Finding", "anonymise", "placeholders"]

KINDS = frozenset(
    {
        "CREDIT_CARD",
        "CRYPTO",
        "EMAIL_ADDRESS",
        "EMPLOYEE_ID",
        "IBAN_CODE",
        "IP_ADDRESS",
        "MAC_ADDRESS",
        "PERSON",
        "PHONE_NUMBER",
        "URL",
        "US_SSN",
    }
)
_PLACEHOLDER = re.compile("<(" + "|".join(sorted(KINDS)) + ")>")
# A replacement may bring something to light that stood beside it; more rounds than this no text has needed.
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Anonymised:
    """``text`` with each finding replaced by ``<KIND>``; ``kinds`` counts what was replaced."""

    text: str
    kinds: dict[str, int]


def anonymise(text: str, *, detect: Callable[[str], Sequence[Finding]] = detect_patterns) -> Anonymised:
    """Replace what ``detect`` finds in ``text``. Its findings are ordered and do not overlap.

    What came out goes in again until nothing more is found, so that a text that was anonymised once stays as it is.
    """
    kinds: Counter[str] = Counter()
    for _round in range(_ROUNDS):
        taken = [match.span() for match in _PLACEHOLDER.finditer(text)]
        findings = [
            found
            for found in detect(text)
            if not any(start <= found.start and found.end <= end for start, end in taken)
        ]
        if not findings:
            break
        text = _replaced(text, findings)
        kinds.update(finding.kind for finding in findings)
    return Anonymised(text, dict(kinds))


def placeholders(text: str) -> Counter[str]:
    """How many replacements of which kind stand in ``text``, whenever they were made."""
    return Counter(_PLACEHOLDER.findall(text))


def _replaced(text: str, findings: Sequence[Finding]) -> str:
    parts: list[str] = []
    position = 0
    for finding in findings:
        parts += (text[position : finding.start], f"<{finding.kind}>")
        position = finding.end
    return "".join([*parts, text[position:]])
