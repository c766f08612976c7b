"""The Celery application: the inference worker, the recorder, the pipeline workers and beat all run it."""

from __future__ import annotations

import os

from celery import Celery

from inference.engine.bootsteps import InferenceEngineStep, RecorderStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vla_project.settings.local")

app = Celery("vla")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].update({InferenceEngineStep, RecorderStep})
