"""What the signals missed: a walk through time that embeds whatever has no vector yet, and then keeps up.

How far it has come is remembered in the cache. A new model begins no new walk: its vectors are made from the old one's
rows (``reembedding``).
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Min
from django.utils import timezone

from feedback.models import Feedback
from inference.models import InferenceResult
from pipeline.embeddings import indexing

# The recorder writes a result some time after it was made; looking back this far costs one small query.
OVERLAP = timedelta(minutes=2)
STRIDE = timedelta(hours=6)
REACHED = "embeddings:reached"


def work_off(*, seconds: float) -> int:
    """Embed for at most about ``seconds``, oldest first. Returns how many rows were made."""
    end = time.monotonic() + seconds
    made = 0
    while True:
        now = timezone.now()
        start = _reached() or _oldest()
        if start is None:
            return made
        stop = min(start + STRIDE, now)
        made += indexing.index_window(start - OVERLAP, stop)
        cache.set(REACHED, stop.isoformat(), timeout=None)
        if stop >= now or time.monotonic() > end:
            return made


def is_complete() -> bool:
    """Whether everything older than the stride has a vector."""
    reached = _reached()
    return reached is not None and reached > timezone.now() - STRIDE


def _reached() -> datetime | None:
    stored = cache.get(REACHED)
    return datetime.fromisoformat(stored) if stored else None


def _oldest() -> datetime | None:
    oldest = [
        InferenceResult.objects.aggregate(oldest=Min("created_at"))["oldest"],
        Feedback.objects.aggregate(oldest=Min("created_at"))["oldest"],
    ]
    return min((moment for moment in oldest if moment is not None), default=None)
