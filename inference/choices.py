from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Verdict(models.TextChoices):
    """What the safety check said of a chunk."""

    PASS = "pass", _("Passed")
    CLAMPED = "clamped", _("Clamped")
    REJECTED = "rejected", _("Rejected")


class DeploymentRole(models.TextChoices):
    ACTIVE = "active", _("Active: answers a share of the traffic")
    SHADOW = "shadow", _("Shadow: sees the same observations, is recorded, is never sent")


class VersionState(models.TextChoices):
    REGISTERED = "registered", _("Registered")
    READY = "ready", _("Ready: a worker has loaded it")
    FAILED = "failed", _("Failed to load")
    RETIRED = "retired", _("Retired")
