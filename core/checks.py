"""What Django's own deployment checks do not look at."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register

from core import object_encryption


@register(Tags.security, deploy=True)
def objects_are_encrypted(app_configs: Any, **_kwargs: Any) -> list[CheckMessage]:
    """Somebody must encrypt objects at rest: we, or the bucket's server."""
    if object_encryption.is_on() or settings.S3_SERVER_SIDE_ENCRYPTION:
        return []
    return [
        Warning(
            "Objects are stored without encryption.",
            hint="Set OBJECT_ENCRYPTION_KEYS, or S3_SERVER_SIDE_ENCRYPTION (`bucket`: a rule of the bucket does it).",
            id="core.W001",
        )
    ]


@register(Tags.security, deploy=True)
def object_keys_are_keys(app_configs: Any, **_kwargs: Any) -> list[CheckMessage]:
    """Encryption that is required needs a key to open anything with."""
    if settings.OBJECT_ENCRYPTION_REQUIRED and not object_encryption.is_on():
        hint = "Set OBJECT_ENCRYPTION_KEYS too."
        return [Warning("OBJECT_ENCRYPTION_REQUIRED is on without a key.", hint=hint, id="core.W002")]
    return []
