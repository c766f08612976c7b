"""News of the pipeline for whoever is connected in the project above."""

from django.dispatch import Signal

# Sent after commit with ``run_id: UUID``.
run_published = Signal()
