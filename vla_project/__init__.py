"""The project: settings, URLs, ASGI, Celery. It imports every app and is imported by none."""

from vla_project.celery import app as celery_app

__all__ = ["celery_app"]
