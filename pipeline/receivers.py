"""What the pipeline does when news comes from the apps below."""

from __future__ import annotations

import uuid
from typing import Any

import structlog
from celery import Task
from kombu.exceptions import OperationalError

from collections_app.signals import collection_changed, episode_changed
from feedback import likeness
from feedback.signals import feedback_given, review_given
from inference.signals import results_recorded
from pipeline import tasks
from pipeline.embeddings import remembered
from pipeline.embeddings.likeness import moments_like
from pipeline.signals import run_published

logger = structlog.get_logger(__name__)


def connect() -> None:
    results_recorded.connect(_embed_results, dispatch_uid="pipeline.embed_results")
    run_published.connect(_follow_up_run, dispatch_uid="pipeline.follow_up_run")
    feedback_given.connect(_embed_feedback, dispatch_uid="pipeline.embed_feedback")
    likeness.provide(moments_like)
    for news in (feedback_given, review_given, episode_changed, collection_changed):
        news.connect(_forget_found, dispatch_uid="pipeline.forget_found")


def _embed_results(sender: Any, *, result_ids: list[uuid.UUID], **_news: Any) -> None:
    _send(tasks.embed_results, [str(identifier) for identifier in result_ids])


def _embed_feedback(sender: Any, *, feedback_id: uuid.UUID, **_news: Any) -> None:
    _send(tasks.embed_feedback, str(feedback_id))


def _forget_found(sender: Any, *, collection_id: uuid.UUID, **_news: Any) -> None:
    """A search may have asked for a label, an outcome or a tag."""
    remembered.forget([collection_id])


def _follow_up_run(sender: Any, *, run_id: uuid.UUID, **_news: Any) -> None:
    _send(tasks.follow_up_run, str(run_id))


def _send(task: Task, argument: object) -> None:
    """Without a broker the news is lost; what was to be embedded is found by ``embeddings.backlog``."""
    try:
        task.delay(argument)
    except OperationalError:
        logger.warning("task.not_sent", task=task.name)
