from __future__ import annotations

from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from collections_app.models import Collection
from feedback.models import GoldAnswer, TaskRule
from inference.models import InferenceResult


@transaction.atomic
def set_task_rule(
    *,
    collection: Collection,
    reason: str,
    enabled: bool = True,
    sample_rate: float = 1.0,
    threshold: float | None = None,
    overlap: int = 1,
    source: InferenceResult | None = None,
    limit: int | None = None,
    actor: User | None = None,
) -> TaskRule:
    """Make or change the rule of a collection for one reason, or for results like ``source``.

    Raises ``ValidationError`` on a value out of range.
    """
    rules = TaskRule.objects.select_for_update().filter(collection=collection, reason=reason)
    rule = rules.filter(source=source).first()
    is_new = rule is None
    rule = rule or TaskRule(collection=collection, reason=reason, source=source)
    before = {} if is_new else _facts(rule)
    rule.enabled, rule.sample_rate, rule.threshold, rule.overlap = enabled, sample_rate, threshold, overlap
    rule.limit = limit
    rule.full_clean()
    rule.save()
    changes = audit.difference(before, _facts(rule))
    audit.record("task_rule.created" if is_new else "task_rule.changed", rule, changes=changes, actor=actor)
    return rule


@transaction.atomic
def remove_task_rule(*, rule: TaskRule, actor: User | None = None) -> None:
    """Make no more tasks for this reason; those that exist stay."""
    audit.record(
        "task_rule.removed", rule, changes={name: [value, None] for name, value in _facts(rule).items()}, actor=actor
    )
    rule.delete()


@transaction.atomic
def switch_off_gold(*, gold: GoldAnswer, actor: User | None = None) -> None:
    """Measure nobody by this answer any more."""
    gold.enabled = False
    gold.save(update_fields=["enabled"])
    audit.record("gold_answer.switched_off", gold, changes={"enabled": [True, False]}, actor=actor)


_FACTS = ("reason", "enabled", "sample_rate", "threshold", "overlap", "source_id", "limit")


def _facts(rule: TaskRule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in _FACTS}
