from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class FeedbackType(models.TextChoices):
    CORRECTION = "correction", _("Correction")
    RATING = "rating", _("Rating")
    SUCCESS = "success", _("Success")
    FAILURE = "failure", _("Failure")
    INTERVENTION = "intervention", _("Intervention")
    PREFERENCE = "preference", _("Preference")
    COMMENT = "comment", _("Comment")


# These two carry a chunk of the human's own.
TYPES_WITH_ACTIONS = (FeedbackType.CORRECTION, FeedbackType.INTERVENTION)


class Preferred(models.TextChoices):
    MODEL = "model", _("The model's chunk")
    HUMAN = "human", _("The human's chunk")


class TaskVerdict(models.TextChoices):
    """What an annotator says of a chunk on the correction page."""

    ACCEPT = "accept", _("Accept")
    CORRECT = "correct", _("Correct")
    REJECT = "reject", _("Reject")
    SUCCESS = "success", _("Success")
    FAILURE = "failure", _("Failure")
    UNCLEAR = "unclear", _("Unclear")


class TaskState(models.TextChoices):
    OPEN = "open", _("Open")
    ASSIGNED = "assigned", _("Assigned")
    DONE = "done", _("Done")
    SKIPPED = "skipped", _("Skipped")


class TaskReason(models.TextChoices):
    """The rule that made a task."""

    ALL = "all", _("Every result")
    SAMPLE = "sample", _("Random sample")
    SAFETY = "safety", _("Safety violation")
    LOW_CONFIDENCE = "low_confidence", _("Low confidence")
    DISAGREEMENT = "disagreement", _("Policy versions disagree")
    ANOMALY = "anomaly", _("Anomaly")
    FAILURE = "failure", _("Failed episode")
    SIMILAR = "similar", _("Similar to a given result")
    FLAGGED = "flagged", _("Flagged by a person")


class SkipReason(models.TextChoices):
    """Why an annotator passes on a task."""

    IMAGE = "image", _("The image does not show enough")
    INSTRUCTION = "instruction", _("The instruction is not clear")
    TOO_HARD = "too_hard", _("I do not know what is right")
    BROKEN = "broken", _("Something is broken")
    OTHER = "other", _("Another reason")


class ReviewState(models.TextChoices):
    """Where an answer stands with the reviewers."""

    PENDING = "pending", _("Not reviewed")
    ACCEPTED = "accepted", _("Accepted")
    SENT_BACK = "sent_back", _("Sent back")
    FIXED = "fixed", _("Fixed by a reviewer")
    OVERRULED = "overruled", _("Overruled")


# Such an answer counts for nothing.
REFUSED = (ReviewState.SENT_BACK, ReviewState.OVERRULED)
# Something else stands in place of the answer.
CHANGED_BY_REVIEWERS = (ReviewState.FIXED, ReviewState.OVERRULED)


class ReviewVerdict(models.TextChoices):
    """``OVERRULED`` is said of the other answers when a dispute is settled, never of an answer by itself."""

    ACCEPTED = "accepted", _("Accepted")
    SENT_BACK = "sent_back", _("Sent back")
    FIXED = "fixed", _("Fixed by the reviewer")
    OVERRULED = "overruled", _("Overruled in a dispute")


class DisputeState(models.TextChoices):
    OPEN = "open", _("To be settled")
    SETTLED = "settled", _("Settled")
    RESOLVED = "resolved", _("No longer disputed")


class DisputeReason(models.TextChoices):
    """In what people disagree."""

    VERDICT = "verdict", _("Different verdicts")
    ACTIONS = "actions", _("Different corrections")
