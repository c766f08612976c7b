from __future__ import annotations

import uuid

from celery import shared_task

from feedback.webhooks import delivery


@shared_task(name="feedback.tasks.deliver_webhook", ignore_result=True)
def deliver_webhook(delivery_id: str) -> None:
    """Send one delivery now; what fails is tried again by ``deliver_due_webhooks``."""
    delivery.deliver(delivery_id=uuid.UUID(delivery_id))


@shared_task(name="feedback.tasks.deliver_due_webhooks", ignore_result=True)
def deliver_due_webhooks() -> int:
    """Send what is due: retries, and what was lost with a broker; beat runs it."""
    return delivery.deliver_due()


@shared_task(name="feedback.tasks.forget_old_deliveries", ignore_result=True)
def forget_old_deliveries() -> int:
    """Keep the delivery log short; beat runs it."""
    return delivery.forget_old()
