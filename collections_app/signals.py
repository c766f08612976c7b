"""News of this app for the apps above it. Sent after commit."""

from __future__ import annotations

from django.dispatch import Signal

# What robots' requests are judged by has changed. Arguments: ``collection_id: UUID``.
collection_changed = Signal()

# An outcome or tags were set. Arguments: ``collection_id: UUID``, ``episode_id: UUID``.
episode_changed = Signal()
