from __future__ import annotations

import uuid

from celery import shared_task

from feedback import services
from feedback.webhooks.tasks import deliver_due_webhooks, deliver_webhook, forget_old_deliveries

__all__ = [
    "deliver_due_webhooks",
    "deliver_webhook",
    "forget_old_deliveries",
    "make_tasks",
    "make_tasks_like_a_result",
    "make_tasks_of_failed_episode",
    "make_tasks_of_results",
]


@shared_task(ignore_result=True)
def make_tasks() -> int:
    """Apply every collection's rules to what was recorded since the last look; beat runs it."""
    return services.sweep_results() + services.sweep_similar()


@shared_task(ignore_result=True)
def make_tasks_of_results(collection_id: str, result_ids: list[str]) -> int:
    """Apply a collection's rules to results that were just recorded."""
    return services.apply_rules(
        collection_id=uuid.UUID(collection_id), result_ids=[uuid.UUID(result_id) for result_id in result_ids]
    )


@shared_task(ignore_result=True)
def make_tasks_of_failed_episode(episode_id: str) -> int:
    """Ask about an episode whose outcome was set to failure."""
    return services.ask_about_failed_episode(episode_id=uuid.UUID(episode_id))


@shared_task(ignore_result=True)
def make_tasks_like_a_result(rule_id: int) -> int:
    """Ask about results like the one that a rule names."""
    return services.ask_about_similar(rule_id=rule_id)
