from __future__ import annotations

from typing import Any

from rest_framework import serializers

from feedback.choices import FeedbackType
from inference.selectors import image_urls
from pipeline.choices import ExportFormat, SearchBy
from pipeline.embeddings.search import Hit
from pipeline.models import Export, PipelineRun, QuarantinedRecord, StageRun
from pipeline.selectors import export_files


class StageRunSerializer(serializers.ModelSerializer):
    class Meta:
        model = StageRun
        fields = ("stage", "state", "records_in", "records_out", "seconds", "counts", "error")


class RunSerializer(serializers.ModelSerializer):
    collection = serializers.CharField(source="collection.slug", read_only=True)
    stages = StageRunSerializer(many=True, read_only=True)

    class Meta:
        model = PipelineRun
        fields = (
            "id",
            "collection",
            "state",
            "progress",
            "window_start",
            "window_end",
            "options",
            "trigger",
            "records_in",
            "records_out",
            "records_quarantined",
            "stages",
            "report",
            "error",
            "created_at",
            "started_at",
            "finished_at",
        )


class RunRequestSerializer(serializers.Serializer):
    window_start = serializers.DateTimeField(required=False, allow_null=True)
    window_end = serializers.DateTimeField(required=False, allow_null=True)
    options = serializers.DictField(required=False)


class QuarantinedRecordSerializer(serializers.ModelSerializer):
    request_id = serializers.UUIDField(source="inference_result.request_id", read_only=True)

    class Meta:
        model = QuarantinedRecord
        fields = ("id", "request_id", "stage", "reason", "detail", "created_at", "fixed_at", "resolved_at")


class FixSerializer(serializers.Serializer):
    """What a refused record shall say instead; what is not named stays."""

    step = serializers.IntegerField(required=False, min_value=0, allow_null=True)
    state = serializers.JSONField(required=False)
    actions = serializers.JSONField(required=False)
    proposed_actions = serializers.JSONField(required=False, allow_null=True)
    images = serializers.DictField(required=False, child=serializers.CharField())
    replay = serializers.BooleanField(required=False, default=True, help_text="Start a run over it at once.")


class ExportFileSerializer(serializers.Serializer):
    path = serializers.CharField()
    bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    url = serializers.CharField()


class ExportSerializer(serializers.ModelSerializer):
    collection = serializers.CharField(source="collection.slug", read_only=True)
    files = serializers.SerializerMethodField()

    class Meta:
        model = Export
        fields = (
            "id",
            "collection",
            "format",
            "query",
            "state",
            "progress",
            "records",
            "files",
            "manifest",
            "error",
            "created_at",
            "finished_at",
        )

    def get_files(self, export: Export) -> list[dict[str, Any]]:
        return export_files(export)


class ExportRequestSerializer(serializers.Serializer):
    format = serializers.ChoiceField(ExportFormat.choices)
    query = serializers.DictField(required=False)


class SearchRequestSerializer(serializers.Serializer):
    q = serializers.CharField(required=False, allow_blank=True, max_length=500, default="")
    similar_to = serializers.UUIDField(required=False)
    by = serializers.ChoiceField(required=False, choices=SearchBy.choices, default=SearchBy.TEXT)
    collection = serializers.SlugField(required=False)
    robot = serializers.CharField(required=False, max_length=64)
    model = serializers.CharField(required=False, max_length=97)
    verdict = serializers.CharField(required=False, max_length=8)
    outcome = serializers.CharField(required=False, max_length=8)
    tag = serializers.CharField(required=False, max_length=64)
    label = serializers.ChoiceField(  # type: ignore[assignment]  # the base's attribute of this name is not used
        required=False, choices=FeedbackType.choices
    )
    anomaly = serializers.BooleanField(required=False, allow_null=True, default=None)
    created_after = serializers.DateTimeField(required=False)
    created_before = serializers.DateTimeField(required=False)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=100, default=20)


class SuggestionsRequestSerializer(serializers.Serializer):
    q = serializers.CharField(max_length=100)
    collection = serializers.SlugField(required=False)


class MapPointSerializer(serializers.Serializer):
    """One text on the map: where it lies, -1..1, how often it was said, and the request that said it first."""

    x = serializers.FloatField()
    y = serializers.FloatField()
    text = serializers.CharField()
    times = serializers.IntegerField()
    request_id = serializers.UUIDField()


class HitSerializer(serializers.Serializer):
    """One moment that was found."""

    score = serializers.FloatField()
    request_id = serializers.UUIDField(source="result.request_id")
    collection = serializers.CharField(source="result.collection.slug")
    robot = serializers.CharField(source="result.robot.name", default=None)
    episode = serializers.CharField(source="result.episode.external_id", default=None)
    outcome = serializers.CharField(source="result.episode.outcome", default=None)
    step = serializers.IntegerField(source="result.step")
    instruction = serializers.CharField(source="result.instruction")
    text = serializers.CharField()
    found_in = serializers.CharField(source="source")
    matched = serializers.ListField(child=serializers.CharField())
    camera = serializers.CharField(help_text="The camera whose picture was found; empty where it was a text.")
    verdict = serializers.CharField(source="result.safety_verdict")
    model = serializers.SerializerMethodField()
    images = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(source="result.created_at")

    def get_model(self, hit: Hit) -> dict[str, str]:
        return {"name": hit.result.model_name, "version": hit.result.model_version}

    def get_images(self, hit: Hit) -> dict[str, str]:
        return image_urls(hit.result)
