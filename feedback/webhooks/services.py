from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts import audit
from collections_app.models import Collection
from core.identifiers import uuid7
from core.problems import invalid
from feedback.webhooks import addresses, sending
from feedback.webhooks.choices import DeliveryState, WebhookEvent
from feedback.webhooks.models import WebhookDelivery, WebhookEndpoint
from feedback.webhooks.tasks import deliver_webhook


@transaction.atomic
def create_endpoint(
    *, collection: Collection, url: str, events: Sequence[str], enabled: bool = True
) -> WebhookEndpoint:
    """Register ``url``. Raises ``Problem`` 400 where webhooks may not go there."""
    _check(url)
    endpoint = WebhookEndpoint(
        collection=collection, url=url, events=list(events), enabled=enabled, secret=sending.new_secret()
    )
    endpoint.full_clean(exclude=["secret"])
    endpoint.save()
    audit.record("webhook.created", endpoint, changes={"url": [None, url], "events": [None, list(events)]})
    return endpoint


@transaction.atomic
def update_endpoint(*, endpoint: WebhookEndpoint, url: str, events: Sequence[str], enabled: bool) -> WebhookEndpoint:
    """Change where it goes and what it hears. Raises ``Problem`` 400 where webhooks may not go there."""
    _check(url)
    before = {"url": endpoint.url, "events": endpoint.events, "enabled": endpoint.enabled}
    after = {"url": url, "events": list(events), "enabled": enabled}
    for name, value in after.items():
        setattr(endpoint, name, value)
    endpoint.silences, endpoint.rests_until = 0, None
    endpoint.full_clean(exclude=["secret"])
    endpoint.save()
    audit.record("webhook.changed", endpoint, changes=audit.difference(before, after))
    return endpoint


@transaction.atomic
def rotate_secret(*, endpoint: WebhookEndpoint) -> str:
    """A new secret for ``endpoint``; what is sent from now on is signed with it. Returns it: it is shown once."""
    endpoint.secret = sending.new_secret()
    endpoint.save(update_fields=["secret"])
    audit.record("webhook.secret_rotated", endpoint)
    return endpoint.secret


@transaction.atomic
def delete_endpoint(*, endpoint: WebhookEndpoint) -> None:
    """Forget ``endpoint`` and its delivery log."""
    audit.record("webhook.deleted", endpoint, changes={"url": [endpoint.url, None]})
    endpoint.delete()


@transaction.atomic(savepoint=False)
def announce(*, collection_id: uuid.UUID, event: WebhookEvent, data: Mapping[str, Any]) -> int:
    """Queue ``event`` for the collection's endpoints that want it, in the transaction of the change itself.

    ``data`` is JSON of identifiers and states; it holds no comments and nothing of a person. Returns how many.
    """
    endpoints = WebhookEndpoint.objects.filter(collection=collection_id, enabled=True, events__contains=[event.value])
    return len([_queue(endpoint, event, data) for endpoint in endpoints])


@transaction.atomic
def ping(*, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Send a test, also where the endpoint rests."""
    _wake(endpoint)
    return _queue(endpoint, WebhookEvent.PING, {"collection": endpoint.collection.slug})


@transaction.atomic
def replay(*, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send the same event again, under the same id, by which a receiver knows that it had it; now, whoever rests."""
    _wake(delivery.endpoint)
    delivery.state, delivery.attempts, delivery.next_attempt_at = DeliveryState.PENDING, 0, timezone.now()
    delivery.save(update_fields=["state", "attempts", "next_attempt_at"])
    audit.record("webhook.replayed", delivery, collection_id=delivery.endpoint.collection_id)
    _send_soon(delivery)
    return delivery


def _queue(endpoint: WebhookEndpoint, event: WebhookEvent, data: Mapping[str, Any]) -> WebhookDelivery:
    payload = {"type": event.value, "timestamp": timezone.now().isoformat(), "data": dict(data)}
    delivery = WebhookDelivery.objects.create(id=uuid7(), endpoint=endpoint, event=event, payload=payload)
    _send_soon(delivery)
    return delivery


def _wake(endpoint: WebhookEndpoint) -> None:
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(rests_until=None)


def _send_soon(delivery: WebhookDelivery) -> None:
    transaction.on_commit(partial(deliver_webhook.delay, str(delivery.pk)), robust=True)


def _check(url: str) -> None:
    try:
        addresses.resolve(url)
    except addresses.ForbiddenAddressError as error:
        raise invalid("/url", str(error)) from None
