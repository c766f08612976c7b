"""How far annotators agree. Krippendorff's alpha for verdicts and ratings, distances for corrected chunks.

Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): alpha = 1 − observed / expected disagreement over the
pairs of values that different annotators gave to one unit; units with one value count for nothing.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeVar

from django.db.models import Count

from collections_app.models import Collection
from feedback.choices import DisputeState
from feedback.corrections import distance_by_dimension, same_shape
from feedback.models import Dispute, Feedback

Value = TypeVar("Value", bound=Hashable)
# Of the latest answers, the most recent results that several people answered; more would not change the figures, only
# take longer.
LATEST_ANSWERS = 20_000
MAX_RESULTS = 2000


def nominal(first: Hashable, second: Hashable) -> float:
    """Disagreement of categories: none or all."""
    return float(first != second)


def interval(first: float, second: float) -> float:
    """Disagreement of numbers: the square of their difference."""
    return float(first - second) ** 2


def krippendorff_alpha(units: Iterable[Sequence[Value]], difference: Callable[[Value, Value], float]) -> float | None:
    """Alpha of ``units``, each the values that annotators gave to one thing, in any order and number.

    1 is perfect agreement, 0 what chance would give. None where no unit has two values, or where all values are the
    same, so that there is nothing to disagree about.
    """
    observed = 0.0
    totals: Counter[Value] = Counter()
    for values in units:
        counts = Counter(values)
        size = counts.total()
        if size < 2:
            continue
        totals.update(counts)
        observed += 2 * _disagreement(counts, difference) / (size - 1)
    n = totals.total()
    expected = 2 * _disagreement(totals, difference) / (n - 1) if n > 1 else 0.0
    return 1.0 - observed / expected if expected else None


def _disagreement(counts: Mapping[Value, int], difference: Callable[[Value, Value], float]) -> float:
    """The sum of ``difference`` over unordered pairs of distinct values, each as often as it occurs."""
    return sum(
        first_count * second_count * difference(first, second)
        for (first, first_count), (second, second_count) in combinations(counts.items(), 2)
    )


@dataclass(frozen=True, slots=True)
class AnnotatorAgreement:
    """``with_others`` is the share of their verdicts that another annotator of the same result gave too."""

    name: str
    answers: int
    with_others: float | None
    distance: float | None
    gold: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures of one collection. Distances are mean absolute differences in shares of a dimension's range."""

    results: int
    verdict_alpha: float | None
    rating_alpha: float | None
    dimensions: list[tuple[str, float]]
    annotators: list[AnnotatorAgreement]
    disputed: list[Dispute]


def of_collection(collection: Collection) -> Agreement:
    """The agreement of people about results of ``collection`` that more than one of them answered lately."""
    answers = Feedback.objects.current().filter(collection=collection, annotator__isnull=False)
    latest = Feedback.objects.filter(pk__in=answers.order_by("-created_at", "-id").values("pk")[:LATEST_ANSWERS])
    shared = latest.order_by().values("inference_result").annotate(n=Count("annotator", distinct=True)).filter(n__gt=1)
    newest = list(shared.order_by("-inference_result").values_list("inference_result", flat=True)[:MAX_RESULTS])
    by_result: dict[uuid.UUID, list[Feedback]] = defaultdict(list)
    for answer in answers.filter(inference_result__in=newest).select_related("annotator").order_by("created_at"):
        by_result[answer.inference_result_id].append(answer)
    groups = list(by_result.values())
    dimensions = list(collection.action_space.dimensions.order_by("position"))
    apart = [
        (first, second, distance_by_dimension(first.human_correction, second.human_correction, dimensions))
        for group in groups
        for first, second in combinations(group, 2)
        if first.human_correction and second.human_correction
        if first.annotator_id != second.annotator_id and same_shape(first.human_correction, second.human_correction)
    ]
    means = [
        sum(distances[index] for _, _, distances in apart) / len(apart) if apart else 0.0
        for index in range(len(dimensions))
    ]
    return Agreement(
        results=len(groups),
        verdict_alpha=krippendorff_alpha((_one_each(group, "verdict") for group in groups), nominal),
        rating_alpha=krippendorff_alpha((_one_each(group, "rating") for group in groups), interval),
        dimensions=[(d.name, mean) for d, mean in zip(dimensions, means, strict=True)] if apart else [],
        annotators=_by_annotator(groups, apart),
        disputed=list(Dispute.objects.filter(collection=collection, state=DisputeState.OPEN)[:20]),
    )


def _by_annotator(
    groups: Sequence[Sequence[Feedback]], apart: Sequence[tuple[Feedback, Feedback, list[float]]]
) -> list[AnnotatorAgreement]:
    answers: dict[str, list[Feedback]] = defaultdict(list)
    pairs: dict[str, list[bool]] = defaultdict(list)
    distances: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        for answer in group:
            answers[str(answer.annotator)].append(answer)
        for first, second in combinations([answer for answer in group if answer.verdict], 2):
            if first.annotator_id != second.annotator_id:
                for name in (str(first.annotator), str(second.annotator)):
                    pairs[name].append(first.verdict == second.verdict)
    for first, second, by_dimension in apart:
        for name in (str(first.annotator), str(second.annotator)):
            distances[name].append(sum(by_dimension) / len(by_dimension))
    return [
        AnnotatorAgreement(
            name=name,
            answers=len(given),
            with_others=_mean(pairs[name]),
            distance=_mean(distances[name]),
            gold=_mean([answer.gold_score for answer in given if answer.gold_score is not None]),
        )
        for name, given in sorted(answers.items())
    ]


def _one_each(group: Sequence[Feedback], name: str) -> list[Any]:
    """The last value of the field ``name`` that each annotator gave."""
    values = {answer.annotator_id: getattr(answer, name) for answer in group if getattr(answer, name) not in (None, "")}
    return list(values.values())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
