from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone


class ApiKeyQuerySet(models.QuerySet):
    def usable(self) -> Self:
        """Neither revoked nor expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)


class TokenFamilyQuerySet(models.QuerySet):
    def alive(self) -> Self:
        """Neither revoked nor expired."""
        return self.filter(revoked_at=None, expires_at__gt=timezone.now())

    def revoked_and_remembered(self) -> Self:
        """Revoked, and young enough that one of their tokens could still be shown."""
        return self.filter(revoked_at__isnull=False, expires_at__gt=timezone.now())

    def expired(self) -> Self:
        """Of which no token can be used or even shown any more."""
        return self.filter(expires_at__lte=timezone.now())


class AuditLogQuerySet(models.QuerySet):
    def delete(self) -> tuple[int, dict[str, int]]:
        raise TypeError("The audit trail is append-only.")

    def update(self, **_kwargs: object) -> int:
        raise TypeError("The audit trail is append-only.")
