from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class WebhookEvent(models.TextChoices):
    FEEDBACK_SUBMITTED = "feedback.submitted", _("Feedback was submitted")
    FEEDBACK_REVIEWED = "feedback.reviewed", _("Feedback was reviewed")
    EXPORT_FINISHED = "export.finished", _("An export is ready")
    PING = "ping", _("A test")


# What an endpoint may subscribe to; a ping goes to whoever is asked to be pinged.
SUBSCRIBABLE = (WebhookEvent.FEEDBACK_SUBMITTED, WebhookEvent.FEEDBACK_REVIEWED, WebhookEvent.EXPORT_FINISHED)


class DeliveryState(models.TextChoices):
    PENDING = "pending", _("To be sent")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Given up")
