"""Everything that changes feedback: each function is one transaction, audited, and says afterwards what happened."""

from __future__ import annotations

from feedback.services.answers import give_feedback
from feedback.services.making import apply_rules, ask_about_failed_episode, create_tasks, flag_result, sweep_results
from feedback.services.queue import (
    assign_tasks,
    claim_next_task,
    claim_task,
    release_task,
    reopen_tasks,
    save_draft,
    skip_task,
    submit_task,
)
from feedback.services.reviewing import make_gold, review_feedback
from feedback.services.rules import remove_task_rule, set_task_rule, switch_off_gold
from feedback.services.settling import settle_dispute
from feedback.services.similar import ask_about_similar, sweep_similar

__all__ = [
    "apply_rules",
    "ask_about_failed_episode",
    "ask_about_similar",
    "assign_tasks",
    "claim_next_task",
    "claim_task",
    "create_tasks",
    "flag_result",
    "give_feedback",
    "make_gold",
    "release_task",
    "remove_task_rule",
    "reopen_tasks",
    "review_feedback",
    "save_draft",
    "set_task_rule",
    "settle_dispute",
    "skip_task",
    "submit_task",
    "sweep_results",
    "sweep_similar",
    "switch_off_gold",
]
