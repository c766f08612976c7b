"""What a Celery worker starts besides its pool: the engine on queue ``inference``, the recorder on ``recorder``.

So operators start, scale, drain and watch both as Celery workers. Imported by the Celery application: models only when
a worker starts.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from core.garbage import spare_what_is_loaded


def _consumes(worker: Any, queue: str) -> bool:
    return queue in worker.app.amqp.queues.consume_from


class InferenceEngineStep(bootsteps.StartStopStep):
    """Runs an ``InferenceWorker`` inside a Celery worker that consumes the queue ``inference``."""

    requires = {"celery.worker.components:Pool"}

    def include_if(self, parent: Any) -> bool:
        return _consumes(parent, "inference")

    def create(self, parent: Any) -> Any:
        from inference.engine.worker import InferenceWorker

        spare_what_is_loaded()
        return InferenceWorker()


class RecorderStep(bootsteps.StartStopStep):
    """Runs a ``Recorder`` inside a Celery worker that consumes the queue ``recorder``."""

    requires = {"celery.worker.components:Pool"}

    def include_if(self, parent: Any) -> bool:
        return _consumes(parent, "recorder")

    def create(self, parent: Any) -> Any:
        from inference.recorder import Recorder

        spare_what_is_loaded()
        return Recorder()
