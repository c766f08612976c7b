"""Reads of recorded results."""

from __future__ import annotations

import time
import uuid

from accounts.choices import Permission
from accounts.principals import Principal
from core import object_store
from core.problems import not_found
from inference.engine import answers
from inference.models import InferenceResult


def recorded_result(
    principal: Principal, request_id: uuid.UUID, permission: Permission = Permission.DATA_READ, *, wait: float = 5.0
) -> InferenceResult:
    """The result that answered ``request_id``, where ``principal`` may read it.

    An answer that the recorder has not yet written is waited for, ``wait`` seconds at most. Raises ``Problem`` 404.
    """
    queryset = InferenceResult.objects.restrict(principal, permission).with_request_id(request_id)
    queryset = queryset.select_related("collection", "robot", "episode", "collection__action_space")
    end = time.monotonic() + wait
    while True:
        result: InferenceResult | None = queryset.first()
        if result is not None:
            return result
        if time.monotonic() > end or not answers.is_known(request_id):
            raise not_found("No such result.")
        time.sleep(0.02)


def image_url(result: InferenceResult, camera: str) -> str:
    """An expiring link to the image of ``camera``. Raises ``KeyError`` where the result has none."""
    return object_store.url(result.images[camera])


def image_urls(result: InferenceResult) -> dict[str, str]:
    """Expiring links to every image of the result, by camera."""
    return {camera: object_store.url(stored) for camera, stored in result.images.items()}
