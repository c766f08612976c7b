"""News of this app for the apps above it. Sent after commit."""

from __future__ import annotations

from django.dispatch import Signal

# Somebody answered. Arguments: ``collection_id: UUID``, ``feedback_id: UUID``.
feedback_given = Signal()

# A reviewer judged an answer. Arguments: ``collection_id: UUID``, ``feedback_id: UUID``, ``review_id: UUID``.
review_given = Signal()
