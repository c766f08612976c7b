"""Sending what is queued: one attempt at a time, each noted, with longer and longer pauses between them."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import orjson
from django.db import transaction
from django.utils import timezone

from feedback.webhooks import addresses, sending
from feedback.webhooks.choices import DeliveryState
from feedback.webhooks.models import WebhookDelivery

# After each failure: 10 s, 40 s, 2.7 min, 11 min, 43 min, 2.8 h, 11 h; then it is given up.
FIRST_RETRY = timedelta(seconds=10)
RETRY_FACTOR = 4
MAX_ATTEMPTS = 8
# A worker that dies while it sends leaves the delivery to others after this long.
CLAIMED_FOR = timedelta(seconds=60)


def deliver(*, delivery_id: uuid.UUID) -> bool:
    """Send one delivery, if it is due, and note what came of it. Returns whether it was taken."""
    with transaction.atomic():
        due = WebhookDelivery.objects.due().select_related("endpoint")
        delivery = due.select_for_update(of=("self",), skip_locked=True).filter(pk=delivery_id).first()
        if delivery is None:
            return False
        delivery.attempts += 1
        delivery.next_attempt_at = timezone.now() + CLAIMED_FOR
        delivery.save(update_fields=["attempts", "next_attempt_at"])
    status, error = _attempt(delivery)
    delivery.response_status, delivery.error = status, error[:300]
    if status is not None and 200 <= status < 300:
        delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, timezone.now()
    elif delivery.attempts >= MAX_ATTEMPTS:
        delivery.state = DeliveryState.FAILED
    else:
        delivery.next_attempt_at = timezone.now() + FIRST_RETRY * RETRY_FACTOR ** (delivery.attempts - 1)
    delivery.save(update_fields=["state", "response_status", "error", "next_attempt_at", "delivered_at"])
    return delivery.state == DeliveryState.DELIVERED


def deliver_due(*, limit: int = 100) -> int:
    """Send what is due: retries, and what was lost with a broker. Returns how many were taken."""
    due = WebhookDelivery.objects.due().filter(endpoint__enabled=True).order_by("next_attempt_at")
    return sum(deliver(delivery_id=delivery_id) for delivery_id in due.values_list("pk", flat=True)[:limit])


def _attempt(delivery: WebhookDelivery) -> tuple[int | None, str]:
    try:
        target = addresses.resolve(delivery.endpoint.url)
        status = sending.send(
            target,
            secret=delivery.endpoint.secret,
            message_id=str(delivery.pk),
            timestamp=int(time.time()),
            body=orjson.dumps(delivery.payload),
        )
    except (addresses.ForbiddenAddressError, sending.SendingError) as error:
        return None, str(error)
    return status, "" if 200 <= status < 300 else f"The endpoint answered {status}."
