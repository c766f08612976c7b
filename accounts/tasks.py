from __future__ import annotations

from datetime import UTC, datetime

from celery import shared_task

from accounts import audit_export, credentials
from accounts.models import ApiKey, TokenFamily


@shared_task
def export_audit_trail() -> None:
    """Write every finished day of the audit trail that object storage does not have yet."""
    for day in audit_export.days_without_export(datetime.now(UTC).date()):
        audit_export.export_day(day)


@shared_task
def record_key_use() -> None:
    """Write when keys were last used, which the hot path only notes in Redis."""
    for public_id, used_at in credentials.take_noted_uses().items():
        ApiKey.objects.filter(public_id=public_id).update(last_used_at=used_at)


@shared_task
def forget_expired_tokens() -> None:
    """Delete the token families of which no token can work any more."""
    TokenFamily.objects.expired().delete()
