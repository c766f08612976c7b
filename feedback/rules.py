"""Which recorded results a rule wants answered.

A matcher takes a rule and results of its collection and returns how strongly each match matched, 0 to 1. Rules that
need more than the result itself have no matcher: failures follow an episode's outcome, anomalies and similar results
come from the pipeline, flags from people.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping

from feedback.choices import TaskReason
from feedback.corrections import distance
from feedback.models import TaskRule
from inference.choices import Verdict
from inference.models import InferenceResult

Strengths = dict[uuid.UUID, float]

DEFAULT_CONFIDENCE = 0.5
DEFAULT_DISTANCE = 0.1


def matches(rule: TaskRule, results: Iterable[InferenceResult]) -> Strengths:
    """The results that ``rule`` wants, after its sampling."""
    return sampled(rule, MATCHERS[TaskReason(rule.reason)](rule, list(results)))


def sampled(rule: TaskRule, strengths: Mapping[uuid.UUID, float]) -> Strengths:
    """The share ``rule.sample_rate`` of ``strengths``: by a digest, so that a result examined twice is drawn alike."""
    return {result_id: value for result_id, value in strengths.items() if _draw(rule, result_id) < rule.sample_rate}


def _draw(rule: TaskRule, result_id: uuid.UUID) -> float:
    digest = hashlib.blake2b(result_id.bytes, digest_size=8, key=str(rule.pk).encode()).digest()
    return int.from_bytes(digest) / 2**64


def _every(_rule: TaskRule, results: list[InferenceResult]) -> Strengths:
    return {result.pk: 0.0 for result in results if not result.shadow}


def _unsafe(_rule: TaskRule, results: list[InferenceResult]) -> Strengths:
    return {
        result.pk: 1.0 if result.safety_verdict == Verdict.REJECTED else 0.5
        for result in results
        if result.safety_verdict != Verdict.PASS and not result.shadow
    }


def _unsure(rule: TaskRule, results: list[InferenceResult]) -> Strengths:
    threshold = DEFAULT_CONFIDENCE if rule.threshold is None else rule.threshold
    return {
        result.pk: 1.0 - result.confidence / threshold
        for result in results
        if result.confidence is not None and result.confidence < threshold and not result.shadow
    }


def _disputed(rule: TaskRule, results: list[InferenceResult]) -> Strengths:
    """Answers whose shadow versions said something else about the same observation."""
    threshold = DEFAULT_DISTANCE if rule.threshold is None else rule.threshold
    dimensions = list(rule.collection.action_space.dimensions.order_by("position"))
    requests = {result.request_id for result in results}
    about_them = InferenceResult.objects.filter(collection_id=rule.collection_id, request_id__in=requests)
    sent = {result.request_id: result for result in about_them if not result.shadow}
    strengths: Strengths = {}
    for shadow in (result for result in about_them if result.shadow):
        answer = sent.get(shadow.request_id)
        first = answer and (answer.proposed_actions or answer.output_actions)
        second = shadow.proposed_actions or shadow.output_actions
        if answer is None or not first or len(first) != len(second):
            continue
        apart = distance(first, second, dimensions)
        if apart > threshold:
            strengths[answer.pk] = max(apart, strengths.get(answer.pk, 0.0))
    return strengths


MATCHERS: dict[TaskReason, Callable[[TaskRule, list[InferenceResult]], Strengths]] = {
    TaskReason.ALL: _every,
    TaskReason.SAMPLE: _every,
    TaskReason.SAFETY: _unsafe,
    TaskReason.LOW_CONFIDENCE: _unsure,
    TaskReason.DISAGREEMENT: _disputed,
}
