from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from core.problems import Problem
from feedback import likeness, rules
from feedback.choices import TaskReason
from feedback.models import FeedbackTask, TaskRule
from feedback.services.making import ask

DEFAULT_LIKENESS = 0.6
# Which results are alike changes as slowly as they are embedded.
LOOK_EVERY = timedelta(minutes=1)
# So many are looked at for the few that nobody was asked about.
LOOKED_AT = 100


@transaction.atomic
def ask_about_similar(*, rule_id: int) -> int:
    """Make tasks of the results most like the one that a rule names, as far as its limit allows. Returns how many.

    Results about which anybody was asked do not count: called again, it makes only what is new. Raises ``Problem`` 404
    before the result was embedded, 503 where nothing can tell.
    """
    rule = TaskRule.objects.select_for_update(of=("self",)).select_related("source").filter(pk=rule_id).first()
    if rule is None or rule.source is None or rule.limit is None or not rule.enabled:
        return 0
    threshold = DEFAULT_LIKENESS if rule.threshold is None else rule.threshold
    alike = likeness.moments_like(rule.source, threshold=threshold, limit=LOOKED_AT)
    asked = set(FeedbackTask.objects.filter(inference_result__in=alike).values_list("inference_result", flat=True))
    new = rules.sampled(rule, {pk: strength for pk, strength in alike.items() if pk not in asked})
    chosen = dict(list(new.items())[: max(0, rule.limit - rule.made)])
    made = ask(rule, chosen)
    rule.made, rule.examined_until = rule.made + len(chosen), timezone.now()
    rule.save(update_fields=["made", "examined_until"])
    return made


def sweep_similar() -> int:
    """Look again for every rule that has not asked about as many as it may. Returns how many tasks were made."""
    unfinished = TaskRule.objects.filter(enabled=True, reason=TaskReason.SIMILAR, made__lt=F("limit"))
    due = unfinished.filter(Q(examined_until=None) | Q(examined_until__lt=timezone.now() - LOOK_EVERY))
    made = 0
    for rule_id in due.values_list("pk", flat=True):
        try:
            made += ask_about_similar(rule_id=rule_id)
        except Problem:  # not embedded yet, or nothing can tell: in a minute perhaps
            TaskRule.objects.filter(pk=rule_id).update(examined_until=timezone.now())
    return made
