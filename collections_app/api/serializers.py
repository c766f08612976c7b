"""Shapes of collections and episodes. Meaning is validated by the services."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from collections_app.choices import DimensionKind, SafetyMode
from collections_app.models import ActionDimension, ActionSpace, Collection, Episode
from core.serializers import StrictFieldsMixin


class DimensionSerializer(StrictFieldsMixin, serializers.ModelSerializer):
    kind = serializers.ChoiceField(choices=DimensionKind.choices, default=DimensionKind.OTHER)

    class Meta:
        model = ActionDimension
        fields = [
            "name",
            "unit",
            "kind",
            "low",
            "high",
            "max_step_change",
            "max_velocity",
            "workspace_state",
            "workspace_low",
            "workspace_high",
        ]


class ActionSpaceSerializer(StrictFieldsMixin, serializers.ModelSerializer):
    """Written inside a new collection; its dimensions are in the order of an action."""

    dimensions = DimensionSerializer(many=True, allow_empty=False, max_length=256)  # type: ignore[call-arg]
    state_limits = serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField(allow_null=True), min_length=2, max_length=2),
        required=False,
        help_text="Low and high limit by entry of the state, in its unit; null is no limit.",
    )

    class Meta:
        model = ActionSpace
        fields = ["id", "name", "control_rate_hz", "state_names", "state_units", "state_limits", "dimensions"]
        read_only_fields = ["id"]


@extend_schema_field(ActionSpaceSerializer)
class ActionSpaceField(serializers.Field):
    """An action space to be made, as an object, or one that exists, by its name. Read as an object."""

    def to_internal_value(self, data: Any) -> ActionSpace | dict[str, Any]:
        if isinstance(data, str):
            existing = ActionSpace.objects.filter(name=data).first()
            if existing is None:
                raise serializers.ValidationError("No action space has this name.")
            return existing
        serializer = ActionSpaceSerializer(data=data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def to_representation(self, value: ActionSpace) -> Any:
        return ActionSpaceSerializer(value).data


class CollectionSerializer(serializers.ModelSerializer):
    action_space = ActionSpaceSerializer(read_only=True)
    archived = serializers.SerializerMethodField()

    class Meta:
        model = Collection
        fields = [
            "id",
            "slug",
            "name",
            "description",
            "action_space",
            "cameras",
            "horizon",
            "safety_mode",
            "cache_enabled",
            "default_deadline_ms",
            "observation_mapping",
            "guidelines",
            "archived",
            "created_at",
            "updated_at",
        ]

    def get_archived(self, collection: Collection) -> bool:
        return collection.archived_at is not None


class CollectionChangesSerializer(StrictFieldsMixin, serializers.ModelSerializer):
    """The fields of ``services.CollectionChanges``; ``archived`` sets or clears ``archived_at``."""

    archived = serializers.BooleanField(required=False)
    safety_mode = serializers.ChoiceField(choices=SafetyMode.choices, required=False)

    class Meta:
        model = Collection
        fields = [
            "name",
            "description",
            "cameras",
            "horizon",
            "safety_mode",
            "cache_enabled",
            "default_deadline_ms",
            "observation_mapping",
            "guidelines",
            "archived",
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        archived = attrs.pop("archived", None)
        if archived is not None:
            attrs["archived_at"] = timezone.now() if archived else None
        return attrs


class NewCollectionSerializer(CollectionChangesSerializer):
    action_space = ActionSpaceField()

    class Meta(CollectionChangesSerializer.Meta):
        fields = ["slug", "action_space", *CollectionChangesSerializer.Meta.fields]


class EpisodeSerializer(serializers.ModelSerializer):
    collection = serializers.CharField(source="collection.slug", read_only=True)
    robot = serializers.CharField(source="robot.name", read_only=True, default=None)

    class Meta:
        model = Episode
        fields = [
            "id",
            "external_id",
            "collection",
            "robot",
            "instruction",
            "outcome",
            "tags",
            "step_count",
            "started_at",
            "ended_at",
            "created_at",
        ]


class EpisodeChangesSerializer(StrictFieldsMixin, serializers.ModelSerializer):
    class Meta:
        model = Episode
        fields = ["outcome", "tags"]
