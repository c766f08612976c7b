"""News for the apps above this one."""

from __future__ import annotations

from django.dispatch import Signal

# Somebody downloads a list. Arguments: ``sender`` the model, ``query: dict[str, str]``, by what it is filtered, and
# ``collection_id`` where the list is one collection's.
list_downloaded = Signal()
