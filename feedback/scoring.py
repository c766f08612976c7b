"""How much an answer to a result would teach: the active-learning score that orders the queue, and its explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from feedback.choices import TaskReason
from inference.models import InferenceResult

# What a rule's match is worth before anything is known of the result; the rest of the score lies between 0 and 3.
REASON_WEIGHTS: dict[str, float] = {
    TaskReason.FLAGGED: 3.0,
    TaskReason.SAFETY: 1.5,
    TaskReason.DISAGREEMENT: 1.5,
    TaskReason.FAILURE: 1.2,
    TaskReason.ANOMALY: 1.0,
    TaskReason.LOW_CONFIDENCE: 1.0,
    TaskReason.SIMILAR: 0.8,
    TaskReason.SAMPLE: 0.2,
    TaskReason.ALL: 0.0,
}
UNKNOWN_CONFIDENCE = 0.5

EXPLANATIONS = {
    "reason": _("why the task was made"),
    "strength": _("how strongly the rule matched"),
    "uncertainty": _("how unsure the policy was: 1 − its confidence"),
    "safety": _("how far the chunk was from safe: 1 − its safety score"),
}


@dataclass(frozen=True, slots=True)
class Score:
    """``total`` orders the queue, higher first; ``parts`` are what it is the sum of."""

    total: float
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class ScorePart:
    value: float
    explanation: Any


def score(result: InferenceResult, reason: str, strength: float = 0.0) -> Score:
    """The worth of asking about ``result``; ``strength`` in 0..1 says how strongly its rule matched.

    Uncertainty sampling (Settles, Active Learning Literature Survey, 2009, section 3.1) plus what makes a wrong
    chunk costly: broken limits, and whatever the rule looks for.
    """
    confidence = UNKNOWN_CONFIDENCE if result.confidence is None else min(max(result.confidence, 0.0), 1.0)
    parts = {
        "reason": REASON_WEIGHTS[reason],
        "strength": min(max(strength, 0.0), 1.0),
        "uncertainty": 1.0 - confidence,
        "safety": 1.0 - result.safety_score,
    }
    parts = {name: round(value, 4) for name, value in parts.items()}
    return Score(round(sum(parts.values()), 4), parts)


def explain(parts: dict[str, float]) -> list[ScorePart]:
    """The parts of a stored score that add to it, the largest first."""
    known = [ScorePart(value, EXPLANATIONS[name]) for name, value in parts.items() if name in EXPLANATIONS and value]
    return sorted(known, key=lambda part: -part.value)
