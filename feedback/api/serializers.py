"""Shapes of feedback. Meaning is validated by the services."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core.serializers import StrictFieldsMixin
from feedback.choices import FeedbackType, Preferred
from feedback.models import Feedback


class NewFeedbackSerializer(StrictFieldsMixin, serializers.Serializer):
    """``actions`` is ``[horizon][dimension]`` in physical units; its shape and limits depend on the result."""

    request_id = serializers.UUIDField()
    type = serializers.ChoiceField(choices=FeedbackType.choices)
    actions = serializers.JSONField(required=False, allow_null=True)
    rating = serializers.IntegerField(min_value=1, max_value=5, required=False, allow_null=True)
    preferred = serializers.ChoiceField(choices=Preferred.choices, required=False)
    confidence = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    comment = serializers.CharField(max_length=10_000, required=False, allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["feedback_type"] = FeedbackType(attrs.pop("type"))
        return attrs


class FeedbackSerializer(serializers.ModelSerializer):
    """An answer, who gave it, how long it took and which policy version it is about."""

    request_id = serializers.UUIDField(source="inference_result.request_id", read_only=True)
    collection = serializers.CharField(source="collection.slug", read_only=True)
    type = serializers.CharField(source="feedback_type", read_only=True)
    actions = serializers.JSONField(source="human_correction", read_only=True)
    annotator = serializers.CharField(source="annotator.username", read_only=True, default=None)
    api_key = serializers.CharField(source="api_key.name", read_only=True, default=None)
    model = serializers.SerializerMethodField()

    class Meta:
        model = Feedback
        fields = [
            "id",
            "request_id",
            "collection",
            "type",
            "verdict",
            "actions",
            "rating",
            "preferred",
            "confidence",
            "comment",
            "annotator",
            "api_key",
            "task",
            "seconds_spent",
            "current",
            "review_state",
            "disputed",
            "model",
            "created_at",
        ]

    def get_model(self, feedback: Feedback) -> dict[str, str]:
        result = feedback.inference_result
        return {"name": result.model_name, "version": result.model_version}
