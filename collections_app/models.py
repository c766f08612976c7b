"""Collections, what their robots can do, and who may do what with them."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.choices import Role
from accounts.models import ApiKey
from collections_app.choices import DimensionKind, Outcome, SafetyMode
from collections_app.querysets import CollectionQuerySet, CollectionScopedQuerySet
from collections_app.validators import (
    validate_distinct,
    validate_observation_mapping,
    validate_same_length,
    validate_state_limits,
)
from core.identifiers import uuid7


class ActionSpace(models.Model):
    """What an action means: its dimensions in order, and the rate at which a robot executes a chunk's steps."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100, unique=True)
    control_rate_hz = models.FloatField(_("control rate (Hz)"), validators=[MinValueValidator(0.01)])
    state_names = ArrayField(models.CharField(max_length=64), help_text=_("The state vector's entries, in order."))
    state_units = ArrayField(models.CharField(max_length=16, blank=True), default=list, blank=True)
    state_limits = models.JSONField(
        default=dict,
        blank=True,
        help_text=_(
            "What a robot in working order can report, by entry of the state and in its unit, e.g. "
            '{"joint_1": [-2.9, 2.9], "width": [0, null]}. Records beyond go to quarantine. An entry left out has none.'
        ),
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "action_spaces"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(name="action_space_rate_positive", condition=Q(control_rate_hz__gt=0)),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        # A form whose own check of a field failed leaves it None.
        validate_distinct("state_names", self.state_names or [])
        validate_same_length("state_units", self.state_units or [], self.state_names or [])
        validate_state_limits(self.state_limits or {}, names=self.state_names or [])


class ActionDimension(models.Model):
    """One dimension of an action, with its limits in physical units. An empty limit is none."""

    id = models.BigAutoField(primary_key=True)
    action_space = models.ForeignKey(ActionSpace, on_delete=models.CASCADE, related_name="dimensions")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=64)
    unit = models.CharField(max_length=16, blank=True)
    kind = models.CharField(max_length=16, choices=DimensionKind, default=DimensionKind.OTHER)
    low = models.FloatField(null=True, blank=True)
    high = models.FloatField(null=True, blank=True)
    max_step_change = models.FloatField(
        null=True, blank=True, help_text=_("Largest change between two steps of a chunk, in the dimension's unit.")
    )
    max_velocity = models.FloatField(
        null=True, blank=True, help_text=_("Largest change per second, in the dimension's unit; uses the control rate.")
    )

    workspace_state = models.CharField(
        max_length=64,
        blank=True,
        help_text=_("The state's entry that the action displaces, step by step. Empty where it displaces none."),
    )
    workspace_low = models.FloatField(
        null=True, blank=True, help_text=_("Where the displaced entry must stay: the workspace box, in its unit.")
    )
    workspace_high = models.FloatField(null=True, blank=True)

    class Meta:
        db_table = "action_dimensions"
        ordering = ["action_space", "position"]
        constraints = [
            models.UniqueConstraint(
                name="action_dimension_position",
                fields=["action_space", "position"],
                deferrable=models.Deferrable.DEFERRED,
            ),
            models.UniqueConstraint(name="action_dimension_name", fields=["action_space", "name"]),
            models.CheckConstraint(
                name="action_dimension_low_below_high",
                condition=Q(low__isnull=True) | Q(high__isnull=True) | Q(low__lt=F("high")),
                violation_error_message=_("The low limit must lie below the high one."),
            ),
            models.CheckConstraint(
                name="action_dimension_changes_positive",
                condition=(Q(max_step_change__isnull=True) | Q(max_step_change__gt=0))
                & (Q(max_velocity__isnull=True) | Q(max_velocity__gt=0)),
                violation_error_message=_("Limits of change must be above zero."),
            ),
            models.CheckConstraint(
                name="action_dimension_workspace_low_below_high",
                condition=Q(workspace_low__isnull=True)
                | Q(workspace_high__isnull=True)
                | Q(workspace_low__lt=F("workspace_high")),
                violation_error_message=_("The workspace's low end must lie below its high one."),
            ),
            models.CheckConstraint(
                name="action_dimension_workspace_has_state",
                condition=Q(workspace_low__isnull=True, workspace_high__isnull=True) | ~Q(workspace_state=""),
                violation_error_message=_("A workspace needs the entry of the state that it holds for."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} [{self.unit}]" if self.unit else self.name


class Collection(models.Model):
    """A body of data with its own robots, action space, members and rules."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    action_space = models.ForeignKey(ActionSpace, on_delete=models.PROTECT, related_name="collections")
    cameras = ArrayField(models.SlugField(max_length=32), help_text=_("The cameras of an observation, in order."))
    horizon = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1)], help_text=_("Steps in one action chunk.")
    )
    safety_mode = models.CharField(max_length=8, choices=SafetyMode, default=SafetyMode.CLAMP)
    cache_enabled = models.BooleanField(default=False, help_text=_("Allow robots to ask for cached answers."))
    default_deadline_ms = models.PositiveIntegerField(default=5000, validators=[MinValueValidator(1)])
    observation_mapping = models.JSONField(
        default=dict,
        blank=True,
        help_text=_(
            'Observation keys of the openpi protocol, e.g. {"state": ["observation/state"], '
            '"cameras": {"base": "observation/image"}, "instruction": "prompt"}. Empty means the usual ones.'
        ),
    )
    guidelines = models.TextField(blank=True, help_text=_("Shown to annotators beside every task."))
    archived_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = CollectionQuerySet.as_manager()

    class Meta:
        db_table = "collections"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(name="collection_has_cameras", condition=~Q(cameras=[])),
            models.CheckConstraint(name="collection_horizon_positive", condition=Q(horizon__gt=0)),
            models.CheckConstraint(name="collection_safety_mode_known", condition=Q(safety_mode__in=SafetyMode.values)),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("collection", args=[self.slug])

    def clean(self) -> None:
        validate_distinct("cameras", self.cameras or [])
        validate_observation_mapping(self.observation_mapping, cameras=self.cameras or [])


class Membership(models.Model):
    """A person's role in a collection."""

    id = models.BigAutoField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "memberships"
        ordering = ["collection", "user"]
        constraints = [
            models.UniqueConstraint(name="membership_one_role", fields=["collection", "user"]),
            models.CheckConstraint(name="membership_role_known", condition=Q(role__in=Role.values)),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.get_role_display()} of {self.collection}"


class ApiKeyGrant(models.Model):
    """A collection that an API key may be used on."""

    id = models.BigAutoField(primary_key=True)
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="grants")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="key_grants")

    class Meta:
        db_table = "api_key_grants"
        constraints = [models.UniqueConstraint(name="api_key_grant_once", fields=["api_key", "collection"])]

    def __str__(self) -> str:
        return f"{self.api_key} on {self.collection}"


class Robot(models.Model):
    """A robot as it names itself. Made when it first speaks, unless somebody registered it before."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="robots")
    name = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "robots"
        ordering = ["collection", "name"]
        constraints = [models.UniqueConstraint(name="robot_name_in_collection", fields=["collection", "name"])]

    def __str__(self) -> str:
        return self.name


class Episode(models.Model):
    """One attempt at a task: consecutive steps of one robot under one external name."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="episodes")
    robot = models.ForeignKey(Robot, null=True, blank=True, on_delete=models.SET_NULL, related_name="episodes")
    external_id = models.CharField(max_length=64, help_text=_("The robot's own name for it."))
    instruction = models.TextField(blank=True)
    outcome = models.CharField(max_length=8, choices=Outcome, blank=True)
    tags = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    step_count = models.PositiveIntegerField(default=0, help_text=_("Inference results recorded."))
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text=_("The last recorded result."))
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CollectionScopedQuerySet.as_manager()

    class Meta:
        db_table = "episodes"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                name="episode_external_id_of_robot", fields=["collection", "robot", "external_id"], nulls_distinct=False
            ),
            models.CheckConstraint(name="episode_outcome_known", condition=Q(outcome__in=["", *Outcome.values])),
        ]
        indexes = [
            models.Index(fields=["collection", "-created_at", "-id"], name="episode_newest"),
            models.Index(fields=["collection", "outcome"], name="episode_outcome"),
            GinIndex(fields=["tags"], name="episode_tags"),
        ]

    def __str__(self) -> str:
        return self.external_id

    def get_absolute_url(self) -> str:
        return reverse("episode", args=[self.pk])
