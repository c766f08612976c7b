from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from collections_app.models import Collection
from collections_app.querysets import CollectionScopedQuerySet
from core.fields import EncryptedTextField
from core.identifiers import uuid7
from feedback.webhooks.choices import SUBSCRIBABLE, DeliveryState, WebhookEvent


class DeliveryQuerySet(CollectionScopedQuerySet):
    collection_path: ClassVar[str] = "endpoint__collection"

    def due(self) -> DeliveryQuerySet:
        """What is to be sent now. Endpoints that are switched off are sent tests, those that rest nothing."""
        now = timezone.now()
        wanted = Q(endpoint__enabled=True) | Q(event=WebhookEvent.PING)
        awake = Q(endpoint__rests_until=None) | Q(endpoint__rests_until__lte=now)
        return self.filter(wanted, awake, state=DeliveryState.PENDING, next_attempt_at__lte=now)


class WebhookEndpoint(models.Model):
    """An address that wants to hear of a collection's events, with the secret that signs what it is sent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="webhooks")
    url = models.URLField(_("URL"), max_length=500)
    secret = EncryptedTextField(editable=False)
    events = ArrayField(models.CharField(max_length=32, choices=[(e.value, e.label) for e in SUBSCRIBABLE]))
    enabled = models.BooleanField(default=True)
    silences = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text=_("How often in a row nobody answered there.")
    )
    rests_until = models.DateTimeField(
        null=True, editable=False, help_text=_("Nothing is sent there before: nobody answered.")
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "webhook_endpoints"
        ordering = ["collection", "created_at"]
        constraints = [
            models.CheckConstraint(
                name="webhook_events_known",
                condition=Q(events__contained_by=[event.value for event in SUBSCRIBABLE]) & ~Q(events=[]),
                violation_error_message=_("Choose at least one event."),
            )
        ]

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """One event for one endpoint, and what came of sending it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=32, choices=WebhookEvent)
    payload = models.JSONField()
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    response_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        db_table = "webhook_deliveries"
        verbose_name_plural = "webhook deliveries"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="webhook_delivery_state_known", condition=Q(state__in=[s.value for s in DeliveryState])
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], name="webhook_delivery_due", condition=Q(state="pending")),
            models.Index(fields=["endpoint", "-created_at"], name="webhook_delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.endpoint}"
