from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class SafetyMode(models.TextChoices):
    """What happens to a chunk that breaks the action space's limits."""

    OFF = "off", _("Off: send as it is")
    REPORT = "report", _("Report: send as it is, record the violations")
    CLAMP = "clamp", _("Clamp: send the nearest safe chunk")
    REJECT = "reject", _("Reject: send no actions")


class DimensionKind(models.TextChoices):
    """What a dimension of an action is, which decides how its limits are read and drawn."""

    POSITION = "position", _("Position of the end effector")
    ROTATION = "rotation", _("Rotation of the end effector")
    JOINT = "joint", _("Joint")
    GRIPPER = "gripper", _("Gripper")
    OTHER = "other", _("Other")


class Outcome(models.TextChoices):
    SUCCESS = "success", _("Success")
    FAILURE = "failure", _("Failure")
    ABORTED = "aborted", _("Aborted")
