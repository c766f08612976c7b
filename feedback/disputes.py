"""In what people disagree about one result: verdicts that contradict one another, or corrections far apart."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from collections_app.models import ActionDimension
from feedback import selectors
from feedback.choices import DisputeReason, FeedbackType, TaskVerdict
from feedback.corrections import Chunk, action_dimensions, chunk_to_correct, distance_by_dimension, same_shape
from feedback.models import Feedback
from inference.models import InferenceResult

# Two corrections whose mean difference in one dimension is above this share of its range are two different answers.
APART = 0.1

GOOD, CORRECTED, BAD = "good", "corrected", "bad"
# What a verdict says of the policy's chunk. Who finds it unclear says nothing, and contradicts nobody.
_MEANING = {
    TaskVerdict.ACCEPT: GOOD,
    TaskVerdict.SUCCESS: GOOD,
    TaskVerdict.CORRECT: CORRECTED,
    TaskVerdict.REJECT: BAD,
    TaskVerdict.FAILURE: BAD,
}
# The verdict of an answer that came without one, through the API.
VERDICT_OF_TYPE = {
    FeedbackType.CORRECTION: TaskVerdict.CORRECT,
    FeedbackType.SUCCESS: TaskVerdict.SUCCESS,
    FeedbackType.FAILURE: TaskVerdict.FAILURE,
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """``distance`` is the largest between two corrections, in shares of the range of the dimension that differs most;
    ``answers`` are all that say something of the chunk."""

    reason: DisputeReason
    distance: float | None
    answers: list[Feedback]


def find(answers: Iterable[Feedback], dimensions: Sequence[ActionDimension]) -> Disagreement | None:
    """In what the annotators of ``answers``, the oldest first, disagree; only the last word of each counts."""
    meant = [answer for answer in answers if meaning(answer)]
    opinions = list({answer.annotator_id: answer for answer in meant}.values())
    if len(opinions) < 2:
        return None
    distance = largest_distance(opinions, dimensions)
    if len({meaning(answer) for answer in opinions}) > 1:
        return Disagreement(DisputeReason.VERDICT, distance, meant)
    if distance is not None and distance > APART:
        return Disagreement(DisputeReason.ACTIONS, distance, meant)
    return None


def meaning(answer: Feedback) -> str:
    """What ``answer`` says of the policy's chunk; "" where it says nothing."""
    verdict = answer.verdict or VERDICT_OF_TYPE.get(FeedbackType(answer.feedback_type), "")
    return _MEANING.get(TaskVerdict(verdict), "") if verdict else ""


def largest_distance(answers: Iterable[Feedback], dimensions: Sequence[ActionDimension]) -> float | None:
    """Between any two corrections among ``answers``, in the dimension that differs most; None where there is one."""
    chunks = [answer.human_correction for answer in answers if answer.human_correction]
    return max(
        (
            max(distance_by_dimension(first, second, dimensions))
            for first, second in combinations(chunks, 2)
            if same_shape(first, second)
        ),
        default=None,
    )


@dataclass(frozen=True, slots=True)
class Side:
    """One answer beside the others: the dimensions that it changed, and how its author does on known answers."""

    answer: Feedback
    changed: list[str]
    gold: float | None


def sides(answers: Sequence[Feedback], result: InferenceResult) -> list[Side]:
    """``answers`` as they stand beside one another."""
    dimensions = action_dimensions(result)
    original = chunk_to_correct(result)
    gold = selectors.gold_agreement({answer.annotator_id for answer in answers})
    return [
        Side(answer, _changed(answer, original, dimensions), gold.get(answer.annotator_id or uuid.UUID(int=0)))
        for answer in answers
    ]


def most_apart(answers: Sequence[Feedback], result: InferenceResult) -> list[tuple[str, str]]:
    """The three dimensions in which corrections differ most, with how much: shares of their ranges."""
    dimensions = action_dimensions(result)
    chunks = [answer.human_correction for answer in answers if answer.human_correction]
    pairs = [
        distance_by_dimension(first, second, dimensions)
        for first, second in combinations(chunks, 2)
        if same_shape(first, second)
    ]
    if not pairs:
        return []
    largest = [(dimension.name, max(pair[index] for pair in pairs)) for index, dimension in enumerate(dimensions)]
    largest.sort(key=lambda pair: -pair[1])
    return [(name, f"{distance:.3f}") for name, distance in largest[:3] if distance]


def _changed(answer: Feedback, original: Chunk, dimensions: Sequence[ActionDimension]) -> list[str]:
    if not answer.human_correction or not original or not same_shape(answer.human_correction, original):
        return []
    apart = distance_by_dimension(answer.human_correction, original, dimensions)
    return [dimension.name for dimension, distance in zip(dimensions, apart, strict=True) if distance > 1e-6]
