"""A run executed in a process of its own, quickly: the fork server imports this module once."""

from __future__ import annotations

from multiprocessing.connection import Connection

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.db import connections  # noqa: E402

from core.personal_data import patterns  # noqa: E402
from pipeline.models import PipelineRun  # noqa: E402
from pipeline.runs import cuts, runner, shards  # noqa: E402


def execute(database: str, objects: str, run_id: str, started: Connection) -> None:
    """Take the run as far as the process lives."""
    connections.settings["default"]["NAME"] = database
    settings.STORAGES["default"]["OPTIONS"]["location"] = objects
    shards.detect = patterns.detect
    cuts.cuts.__kwdefaults__ = {"size": 10}
    started.send(True)
    runner.execute(PipelineRun.objects.select_related("collection__action_space").get(pk=run_id))
