"""What this app does when an app below it has news."""

from __future__ import annotations

import uuid
from typing import Any

from feedback import tasks
from feedback.models import TaskRule


def make_tasks_of_new_results(*, collection_id: uuid.UUID, result_ids: list[uuid.UUID], **_signal: Any) -> None:
    """Enqueue the rules' work, where the collection has rules; the beat's sweep finds what this misses."""
    if TaskRule.objects.filter(collection_id=collection_id, enabled=True).exists():
        tasks.make_tasks_of_results.delay(str(collection_id), [str(result_id) for result_id in result_ids])


def ask_about_failure(*, collection_id: uuid.UUID, episode_id: uuid.UUID, **_signal: Any) -> None:
    """Enqueue questions about an episode that may have failed; the task looks whether it did."""
    if TaskRule.objects.filter(collection_id=collection_id, enabled=True, reason="failure").exists():
        tasks.make_tasks_of_failed_episode.delay(str(episode_id))
