"""What people are asked about a robot's actions, what they answer, and what reviewers say of the answers."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey
from collections_app.models import Collection
from collections_app.querysets import CollectionScopedQuerySet
from core.identifiers import uuid7
from feedback.choices import (
    CHANGED_BY_REVIEWERS,
    TYPES_WITH_ACTIONS,
    DisputeReason,
    DisputeState,
    FeedbackType,
    Preferred,
    ReviewState,
    ReviewVerdict,
    SkipReason,
    TaskReason,
    TaskState,
    TaskVerdict,
)
from feedback.querysets import FeedbackQuerySet, FeedbackTaskQuerySet, ReviewQuerySet
from feedback.webhooks.models import WebhookDelivery, WebhookEndpoint
from inference.models import InferenceResult

__all__ = [
    "Dispute",
    "Draft",
    "Feedback",
    "FeedbackTask",
    "GoldAnswer",
    "Review",
    "TaskRule",
    "TaskSkip",
    "WebhookDelivery",
    "WebhookEndpoint",
]


class TaskRule(models.Model):
    """Which results of a collection become tasks."""

    id = models.BigAutoField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="task_rules")
    reason = models.CharField(max_length=16, choices=TaskReason)
    enabled = models.BooleanField(default=True)
    sample_rate = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("The share of matching results that become tasks."),
    )
    threshold = models.FloatField(
        null=True, blank=True, help_text=_("Confidence below, or distance or likeness above, which it holds.")
    )
    overlap = models.PositiveSmallIntegerField(default=1, help_text=_("How many annotators answer each task."))
    source = models.ForeignKey(
        InferenceResult,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="+",
        help_text=_("The result that others shall be like."),
    )
    limit = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_("About how many results like the given one people are asked."),
    )
    made = models.PositiveIntegerField(
        default=0, editable=False, help_text=_("About how many results like the given one people were asked.")
    )
    examined_until = models.DateTimeField(
        null=True, editable=False, help_text=_("When the last result was recorded that the rule has seen.")
    )

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "feedback_task_rules"
        ordering = ["collection", "reason"]
        constraints = [
            models.UniqueConstraint(
                name="task_rule_once", fields=["collection", "reason"], condition=Q(source__isnull=True)
            ),
            models.UniqueConstraint(
                name="task_rule_once_a_source", fields=["collection", "source"], condition=Q(source__isnull=False)
            ),
            models.CheckConstraint(
                name="task_rule_similar_to_something",
                condition=Q(reason=TaskReason.SIMILAR, source__isnull=False, limit__isnull=False)
                | (~Q(reason=TaskReason.SIMILAR) & Q(source__isnull=True)),
            ),
            models.CheckConstraint(name="task_rule_sample_rate", condition=Q(sample_rate__gte=0, sample_rate__lte=1)),
            models.CheckConstraint(name="task_rule_overlap", condition=Q(overlap__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()} in {self.collection}"


class FeedbackTask(models.Model):
    """A question about one result, held by one annotator at a time."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="feedback_tasks")
    inference_result = models.ForeignKey(
        InferenceResult,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,  # the first column of feedback_task_once
        related_name="feedback_tasks",
    )
    slot = models.PositiveSmallIntegerField(default=0, help_text=_("Which of the overlapping annotators this is for."))
    reason = models.CharField(max_length=16, choices=TaskReason)
    priority = models.FloatField(default=0.0, help_text=_("Higher is asked earlier."))
    priority_parts = models.JSONField(default=dict, blank=True, help_text=_("What the priority is the sum of."))
    state = models.CharField(max_length=8, choices=TaskState, default=TaskState.OPEN)
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="feedback_tasks"
    )
    assigned_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = FeedbackTaskQuerySet.as_manager()

    class Meta:
        db_table = "feedback_tasks"
        ordering = ["-priority", "id"]
        constraints = [
            models.UniqueConstraint(name="feedback_task_once", fields=["inference_result", "slot"]),
            models.CheckConstraint(name="feedback_task_state_known", condition=Q(state__in=TaskState.values)),
            models.CheckConstraint(
                name="feedback_task_assigned_to_somebody",
                condition=~Q(state=TaskState.ASSIGNED) | Q(assignee__isnull=False, assigned_until__isnull=False),
            ),
        ]
        indexes = [
            models.Index(
                fields=["collection", "-priority", "id"], name="feedback_task_open", condition=Q(state=TaskState.OPEN)
            ),
            models.Index(
                fields=["collection", "assigned_until"],
                name="feedback_task_expiring",
                condition=Q(state=TaskState.ASSIGNED),
            ),
            models.Index(fields=["assignee"], name="feedback_task_held", condition=Q(state=TaskState.ASSIGNED)),
            models.Index(
                fields=["assignee", "inference_result"],
                name="feedback_task_taken",
                condition=Q(state__in=[TaskState.ASSIGNED, TaskState.DONE]),
            ),
            models.Index(
                fields=["assignee", "collection", "-completed_at"],
                name="feedback_task_done",
                condition=Q(state=TaskState.DONE),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()} ({self.state})"

    def get_absolute_url(self) -> str:
        return reverse("feedback-task", args=[self.pk])


class Draft(models.Model):
    """What an annotator has entered for a task and not yet submitted. It outlives the session and the assignment."""

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(FeedbackTask, on_delete=models.CASCADE, related_name="drafts")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="drafts")
    content = models.JSONField()
    saved_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "feedback_drafts"
        constraints = [models.UniqueConstraint(name="feedback_draft_once", fields=["task", "annotator"])]

    def __str__(self) -> str:
        return f"Draft of {self.task_id}"


class TaskSkip(models.Model):
    """An annotator passed on a task; it is offered to others, not to them again."""

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(FeedbackTask, on_delete=models.CASCADE, related_name="skips")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="task_skips")
    reason = models.CharField(max_length=16, choices=SkipReason)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "feedback_task_skips"
        constraints = [
            models.UniqueConstraint(name="feedback_task_skip_once", fields=["task", "annotator"]),
            models.CheckConstraint(name="feedback_task_skip_reason_known", condition=Q(reason__in=SkipReason.values)),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()}: {self.task_id}"


class GoldAnswer(models.Model):
    """The known answer to a result: tasks about it measure the annotator."""

    id = models.BigAutoField(primary_key=True)
    inference_result = models.OneToOneField(
        InferenceResult, on_delete=models.CASCADE, db_constraint=False, related_name="gold_answer"
    )
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="gold_answers")
    verdict = models.CharField(max_length=8, choices=TaskVerdict)
    actions = models.JSONField(null=True, blank=True, help_text=_("The right chunk, where the verdict is to correct."))
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "feedback_gold_answers"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                name="gold_answer_correct_has_actions", condition=~Q(verdict="correct") | Q(actions__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} is right for {self.inference_result_id}"


class Feedback(models.Model):
    """One answer, by a person or by a robot's teleoperator, to one result.

    ``human_correction`` has the shape of the chunk that it corrects, in the same units. A later answer of the same
    kind by the same annotator replaces an earlier one, which stays with ``current`` false.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="feedback")
    inference_result = models.ForeignKey(
        InferenceResult, on_delete=models.CASCADE, db_constraint=False, related_name="feedback"
    )
    task = models.ForeignKey(FeedbackTask, null=True, blank=True, on_delete=models.SET_NULL, related_name="answers")
    feedback_type = models.CharField(max_length=16, choices=FeedbackType)
    verdict = models.CharField(max_length=8, choices=TaskVerdict, blank=True)
    human_correction = models.JSONField(null=True, blank=True)
    rating = models.PositiveSmallIntegerField(null=True, blank=True)
    preferred = models.CharField(max_length=8, choices=Preferred, blank=True)
    confidence = models.FloatField(null=True, blank=True)
    comment = models.TextField(blank=True)
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="feedback"
    )
    api_key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.SET_NULL, related_name="feedback")
    seconds_spent = models.FloatField(null=True, blank=True)
    gold_score = models.FloatField(
        null=True, blank=True, help_text=_("1 agrees with the known answer, 0 contradicts it; empty: none is known.")
    )
    current = models.BooleanField(default=True, help_text=_("Not replaced by a later answer of the same annotator."))
    review_state = models.CharField(max_length=12, choices=ReviewState, default=ReviewState.PENDING)
    disputed = models.BooleanField(
        default=False, help_text=_("Another annotator says something else, and nobody has settled it yet.")
    )
    reviewed_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When a reviewer said last what becomes of it.")
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = FeedbackQuerySet.as_manager()

    class Meta:
        db_table = "feedback"
        verbose_name_plural = "feedback"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(name="feedback_type_known", condition=Q(feedback_type__in=FeedbackType.values)),
            models.CheckConstraint(
                name="feedback_correction_has_actions",
                condition=~Q(feedback_type__in=[t.value for t in TYPES_WITH_ACTIONS])
                | Q(human_correction__isnull=False),
            ),
            models.CheckConstraint(
                name="feedback_rating_in_range", condition=Q(rating__isnull=True) | Q(rating__gte=1, rating__lte=5)
            ),
            models.CheckConstraint(
                name="feedback_confidence_in_range",
                condition=Q(confidence__isnull=True) | Q(confidence__gte=0, confidence__lte=1),
            ),
            models.CheckConstraint(
                name="feedback_rating_is_given", condition=~Q(feedback_type="rating") | Q(rating__isnull=False)
            ),
            models.CheckConstraint(
                name="feedback_preference_is_given", condition=~Q(feedback_type="preference") | ~Q(preferred="")
            ),
            models.CheckConstraint(
                name="feedback_review_state_known", condition=Q(review_state__in=ReviewState.values)
            ),
            models.UniqueConstraint(
                name="feedback_one_current_of_person",
                fields=["inference_result", "annotator", "feedback_type"],
                condition=Q(current=True) & ~Q(feedback_type="comment"),
            ),
            models.UniqueConstraint(
                name="feedback_one_current_of_key",
                fields=["inference_result", "api_key", "feedback_type"],
                condition=Q(current=True) & ~Q(feedback_type="comment"),
            ),
        ]
        indexes = [
            models.Index(fields=["inference_result"], name="feedback_result"),
            models.Index(fields=["collection", "-created_at", "-id"], name="feedback_newest"),
            models.Index(
                fields=["annotator", "-created_at"],
                name="feedback_pace",
                include=["task", "seconds_spent", "gold_score"],
            ),
            models.Index(
                fields=["collection", "created_at", "id"],
                name="feedback_to_review",
                condition=Q(current=True, review_state="pending"),
            ),
            models.Index(
                fields=["annotator", "-reviewed_at"],
                name="feedback_changed",
                condition=Q(current=True, review_state__in=[state.value for state in CHANGED_BY_REVIEWERS]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_feedback_type_display()} of {self.inference_result_id}"

    @property
    def author(self) -> str:
        """The name of the person, or of the key of the robot, that gave it."""
        return str(self.annotator or (self.api_key and self.api_key.name) or "–")


class Review(models.Model):
    """A reviewer's judgement of one answer."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    feedback = models.ForeignKey(Feedback, on_delete=models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="reviews")
    verdict = models.CharField(max_length=12, choices=ReviewVerdict)
    comment = models.TextField(blank=True)
    fixed_actions = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ReviewQuerySet.as_manager()

    class Meta:
        db_table = "reviews"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(name="review_verdict_known", condition=Q(verdict__in=ReviewVerdict.values)),
            models.CheckConstraint(
                name="review_fix_has_actions", condition=~Q(verdict="fixed") | Q(fixed_actions__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} by {self.reviewer}"


class Dispute(models.Model):
    """A result about which annotators disagree, and how a reviewer settled it.

    There is one for a result: an answer that contradicts what was settled opens it again.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="disputes", db_index=False)
    inference_result = models.OneToOneField(
        InferenceResult, on_delete=models.CASCADE, db_constraint=False, related_name="dispute"
    )
    state = models.CharField(max_length=8, choices=DisputeState, default=DisputeState.OPEN)
    reason = models.CharField(max_length=8, choices=DisputeReason)
    distance = models.FloatField(
        null=True, blank=True, help_text=_("Between the corrections, in shares of the range of the worst dimension.")
    )
    opened_at = models.DateTimeField()
    chosen = models.ForeignKey(
        Feedback, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text=_("What stands.")
    )
    settled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="settled_disputes"
    )
    settled_at = models.DateTimeField(null=True, blank=True)
    comment = models.TextField(blank=True)

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "feedback_disputes"
        ordering = ["opened_at", "id"]
        constraints = [
            models.CheckConstraint(name="dispute_state_known", condition=Q(state__in=DisputeState.values)),
            models.CheckConstraint(name="dispute_reason_known", condition=Q(reason__in=DisputeReason.values)),
            models.CheckConstraint(
                name="dispute_settled_at", condition=~Q(state=DisputeState.SETTLED) | Q(settled_at__isnull=False)
            ),
        ]
        indexes = [
            models.Index(
                fields=["collection", "opened_at", "id"],
                name="dispute_open",
                condition=Q(state=DisputeState.OPEN),
            ),
            models.Index(fields=["collection", "-settled_at"], name="dispute_settled"),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()} about {self.inference_result_id}"

    def get_absolute_url(self) -> str:
        return reverse("feedback-dispute", args=[self.pk])
