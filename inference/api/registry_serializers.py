"""What changes of the registry must look like. Meaning is validated by the services."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core.serializers import StrictFieldsMixin
from inference.choices import DeploymentRole


class NewVersionSerializer(StrictFieldsMixin, serializers.Serializer[Any]):
    name = serializers.CharField(max_length=64)
    version = serializers.CharField(max_length=32)
    backend = serializers.CharField(max_length=32)
    options = serializers.DictField(required=False)
    checkpoint_sha256 = serializers.RegexField(r"^[0-9a-f]{64}$", required=False)
    description = serializers.CharField(required=False, allow_blank=True)


class VersionNameSerializer(StrictFieldsMixin, serializers.Serializer[Any]):
    version = serializers.CharField(max_length=32)


class PlaceSerializer(VersionNameSerializer):
    collection = serializers.CharField(max_length=64)


class NewDeploymentSerializer(PlaceSerializer):
    role = serializers.ChoiceField(DeploymentRole.choices, default=DeploymentRole.ACTIVE)
    weight = serializers.IntegerField(min_value=0, max_value=1_000_000, default=100)
