"""News from the recorder for the apps above."""

from django.dispatch import Signal

# Sent after commit with ``collection_id: UUID`` and ``result_ids: list[UUID]`` (robots' answers, not shadow chunks).
results_recorded = Signal()
