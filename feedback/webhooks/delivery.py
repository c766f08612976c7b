"""Sending what is queued: one attempt at a time, each noted, with longer and longer pauses between them.

An endpoint at which nobody answers rests: to wait for silence once for each of its deliveries would leave the workers
time for nothing else.
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import orjson
from django.db import transaction
from django.utils import timezone

from feedback.webhooks import addresses, sending
from feedback.webhooks.choices import DeliveryState
from feedback.webhooks.models import WebhookDelivery, WebhookEndpoint

# After each failure: 10 s, 40 s, 2.7 min, 11 min, 43 min, 2.8 h, 11 h; then it is given up.
FIRST_RETRY = timedelta(seconds=10)
RETRY_FACTOR = 4
MAX_ATTEMPTS = 8
# After each silence: 10 s, 40 s, 2.7 min, then 10 min, whatever else is due there.
LONGEST_REST = timedelta(minutes=10)
# What has waited for so long where nobody has answered ``MAX_ATTEMPTS`` times in a row is given up too.
GIVEN_UP_AFTER = timedelta(days=1)
# One sweep takes less than beat's pause between two, so that slow endpoints do not fill the workers with sweeps.
SWEEP_SECONDS = 8.0
# How long the log is kept.
LOG_KEPT_FOR = timedelta(days=30)
FORGET_AT_ONCE = 5000
# A worker that dies while it sends leaves the delivery to others after this long.
CLAIMED_FOR = timedelta(seconds=60)


def deliver(*, delivery_id: uuid.UUID) -> bool:
    """Send one delivery, if it is due, and note what came of it. Returns whether it was taken."""
    with transaction.atomic():
        due = WebhookDelivery.objects.due().select_related("endpoint")  # rests are looked at anew each time
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
    _note_silence(delivery.endpoint, is_silent=status is None)
    return delivery.state == DeliveryState.DELIVERED


def deliver_due(*, limit: int = 100) -> int:
    """Send what is due: retries, and what was lost with a broker. Returns how many were delivered."""
    due = WebhookDelivery.objects.due().order_by("next_attempt_at").values_list("pk", flat=True)[:limit]
    until = time.monotonic() + SWEEP_SECONDS
    delivered = 0
    for delivery_id in list(due):
        delivered += deliver(delivery_id=delivery_id)
        if time.monotonic() > until:
            break
    return delivered


def forget_old() -> int:
    """Delete from the log what was sent or given up long ago. Returns how much."""
    old = WebhookDelivery.objects.exclude(state=DeliveryState.PENDING)
    old = old.filter(created_at__lt=timezone.now() - LOG_KEPT_FOR)
    forgotten = 0
    while some := list(old.order_by().values_list("pk", flat=True)[:FORGET_AT_ONCE]):
        forgotten += WebhookDelivery.objects.filter(pk__in=some).delete()[0]
    return forgotten


def _note_silence(endpoint: WebhookEndpoint, *, is_silent: bool) -> None:
    """Let an endpoint rest, or end its rest; what has waited there for too long is given up with it."""
    if not is_silent:
        if endpoint.silences:
            WebhookEndpoint.objects.filter(pk=endpoint.pk).update(silences=0, rests_until=None)
        return
    now = timezone.now()
    rest = min(FIRST_RETRY * RETRY_FACTOR ** min(endpoint.silences, MAX_ATTEMPTS), LONGEST_REST)
    silences = min(endpoint.silences + 1, MAX_ATTEMPTS)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(silences=silences, rests_until=now + rest)
    if silences == MAX_ATTEMPTS:
        waiting = WebhookDelivery.objects.filter(endpoint=endpoint, state=DeliveryState.PENDING)
        waiting.filter(created_at__lt=now - GIVEN_UP_AFTER).update(
            state=DeliveryState.FAILED, error="Nobody answered there for a day."
        )


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
