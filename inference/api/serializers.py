from __future__ import annotations

from typing import Any

from rest_framework import serializers

from inference.models import Deployment, InferenceResult, PolicyVersion
from inference.results import safety_of, timing_of
from inference.selectors import image_urls


class ModelReferenceSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    version = serializers.CharField()


class ViolationSerializer(serializers.Serializer[Any]):
    step = serializers.IntegerField()
    dimension = serializers.CharField()
    rule = serializers.ChoiceField(choices=["position", "step", "velocity"])
    value = serializers.FloatField(help_text="What the policy said.")
    limit = serializers.FloatField()
    sent = serializers.FloatField(allow_null=True, help_text="What was sent instead; null when rejected.")


class SafetySerializer(serializers.Serializer[Any]):
    score = serializers.FloatField(min_value=0, max_value=1)
    verdict = serializers.ChoiceField(choices=["pass", "clamped", "rejected"])
    violations = ViolationSerializer(many=True)


class TimingSerializer(serializers.Serializer[Any]):
    queue_ms = serializers.FloatField()
    inference_ms = serializers.FloatField()
    total_ms = serializers.FloatField()
    batch_size = serializers.IntegerField()


class ObservationSerializer(serializers.Serializer[Any]):
    """What a robot sends. Only the schema is made from this: the robots' route validates without DRF."""

    collection = serializers.SlugField()
    request_id = serializers.UUIDField(required=False, help_text="The same id again gives the stored answer.")
    robot = serializers.CharField(max_length=64, required=False)
    episode = serializers.CharField(max_length=64, required=False)
    step = serializers.IntegerField(min_value=0, required=False)
    instruction = serializers.CharField(max_length=2000)
    state = serializers.ListField(child=serializers.FloatField())
    images = serializers.DictField(child=serializers.CharField(), help_text="Camera to base64 JPEG or PNG.")
    model = serializers.CharField(required=False, help_text="name or name@version")
    deadline_ms = serializers.IntegerField(min_value=1, max_value=60000, required=False)
    cache = serializers.BooleanField(required=False)


class AnswerSerializer(serializers.Serializer[Any]):
    """What a robot gets: ``actions`` is ``[horizon][dimension]`` in physical units, empty when rejected."""

    request_id = serializers.UUIDField()
    actions = serializers.ListField(child=serializers.ListField(child=serializers.FloatField()))
    model = ModelReferenceSerializer()
    safety = SafetySerializer()
    cached = serializers.BooleanField()
    timing = TimingSerializer()


class InferenceResultSerializer(serializers.ModelSerializer[InferenceResult]):
    collection: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    robot = serializers.SerializerMethodField()
    episode = serializers.SerializerMethodField()
    state = serializers.ListField(child=serializers.FloatField(), source="input_state")
    actions = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), source="output_actions"
    )
    images = serializers.SerializerMethodField()
    model = serializers.SerializerMethodField()
    safety = serializers.SerializerMethodField()
    timing = serializers.SerializerMethodField()

    class Meta:
        model = InferenceResult
        fields = [
            "request_id",
            "collection",
            "robot",
            "episode",
            "step",
            "instruction",
            "state",
            "images",
            "actions",
            "proposed_actions",
            "safety",
            "confidence",
            "model",
            "cached",
            "timing",
            "created_at",
        ]

    def get_robot(self, result: InferenceResult) -> str | None:
        return result.robot.name if result.robot else None

    def get_episode(self, result: InferenceResult) -> str | None:
        return result.episode.external_id if result.episode else None

    def get_images(self, result: InferenceResult) -> dict[str, str]:
        request = self.context.get("request")
        urls = image_urls(result)
        return {camera: request.build_absolute_uri(url) for camera, url in urls.items()} if request else urls

    def get_model(self, result: InferenceResult) -> dict[str, str]:
        return {"name": result.model_name, "version": result.model_version}

    def get_safety(self, result: InferenceResult) -> dict[str, Any]:
        return safety_of(result)

    def get_timing(self, result: InferenceResult) -> dict[str, Any]:
        return timing_of(result)


class DeploymentSerializer(serializers.ModelSerializer[Deployment]):
    collection: Any = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Deployment
        fields = ["collection", "role", "weight"]


class PolicyVersionSerializer(serializers.ModelSerializer[PolicyVersion]):
    deployments = serializers.SerializerMethodField()
    action_space = serializers.SerializerMethodField()
    workers = serializers.SerializerMethodField()

    class Meta:
        model = PolicyVersion
        fields = [
            "name",
            "version",
            "backend",
            "state",
            "state_detail",
            "checkpoint_sha256",
            "action_space",
            "deployments",
            "workers",
            "created_at",
        ]

    def get_deployments(self, version: PolicyVersion) -> list[dict[str, Any]]:
        visible = self.context["visible_collections"]
        shown = [d for d in version.deployments.all() if d.collection_id in visible]
        return [dict(data) for data in DeploymentSerializer(shown, many=True).data]

    def get_action_space(self, version: PolicyVersion) -> dict[str, Any]:
        info = version.info
        return {
            "names": info.get("action_names", []),
            "horizon": info.get("horizon"),
            "cameras": info.get("cameras", []),
            "state_size": info.get("state_size"),
        }

    def get_workers(self, version: PolicyVersion) -> int:
        loaded: dict[str, int] = self.context["loaded_versions"]
        return loaded.get(version.pk.hex, 0)
