"""Structured logs: JSON lines on servers, readable lines on a laptop; secrets never reach either."""

from __future__ import annotations

import logging
import logging.config
import re
from collections.abc import MutableMapping
from typing import Any

import structlog
from django.conf import settings

_SECRET_NAME = re.compile(r"(password|secret|token|authorization|api_?key|cookie|pepper)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"vla_[A-Za-z0-9]{6,}_[A-Za-z0-9_-]{16,}")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank values under telling names, and API keys wherever they stand."""
    for name, value in event.items():
        event[name] = "[redacted]" if _SECRET_NAME.search(name) else _without_secrets(value)
    return event


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_VALUE.sub("[redacted key]", value)
    if isinstance(value, dict):
        return {k: "[redacted]" if _SECRET_NAME.search(str(k)) else _without_secrets(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(item) for item in value]
    return value


class NotUnavailable(logging.Filter):
    """Drops Django's line for a 503: it is an answer, and whoever gives it logs its cause."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", None) != 503


def configure() -> None:
    """Route the standard library's and structlog's records through the same processors."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()]
        if settings.LOG_FORMAT == "json"
        # Rich's tracebacks take up to a second each, which a process that serves robots does not have.
        else [redact, structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "structured": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
            "root": {"handlers": ["stderr"], "level": settings.LOG_LEVEL},
            "loggers": {
                "daphne": {"level": "WARNING"},
                "django.request": {"level": "ERROR", "filters": ["not_unavailable"]},
                "django.channels.server": {"level": "WARNING"},
                # One line for each task received and done drowns what matters; failures are warnings and errors.
                "celery": {"level": "WARNING"},
                "kombu": {"level": "WARNING"},
            },
            "filters": {"not_unavailable": {"()": "core.logging.NotUnavailable"}},
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
