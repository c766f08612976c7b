"""What the pipeline does when news comes from the apps below."""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from celery import Task
from kombu.exceptions import OperationalError

from feedback.signals import feedback_given
from inference.signals import results_recorded
from pipeline import tasks

logger = structlog.get_logger(__name__)


def connect() -> None:
    results_recorded.connect(_embed_results, dispatch_uid="pipeline.embed_results")
    feedback_given.connect(_embed_feedback, dispatch_uid="pipeline.embed_feedback")


def _embed_results(sender: Any, *, result_ids: list[uuid.UUID], **_news: Any) -> None:
    _send(tasks.embed_results, [str(identifier) for identifier in result_ids])


def _embed_feedback(sender: Any, *, feedback_id: uuid.UUID, **_news: Any) -> None:
    _send(tasks.embed_feedback, str(feedback_id))


def _send(task: Task, argument: object) -> None:
    """Without a broker the news is lost, and the backlog (``embeddings.backlog``) finds what it was about."""
    try:
        task.delay(argument)
    except OperationalError:
        logger.warning("embedding.postponed", task=task.name)
