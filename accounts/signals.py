"""News of this app for the apps above it."""

from __future__ import annotations

from django.dispatch import Signal

# A key is being replaced: copy to the new one what was granted to the old. Sent inside the transaction.
# Arguments: ``old: ApiKey``, ``new: ApiKey``.
api_key_rotated = Signal()
