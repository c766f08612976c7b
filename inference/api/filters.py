from __future__ import annotations

from typing import Any

import django_filters

from core.filters import StrictFilterSet
from inference.choices import Verdict
from inference.models import InferenceResult, PolicyVersion


class InferenceResultFilter(StrictFilterSet):
    collection = django_filters.CharFilter(field_name="collection__slug")
    robot = django_filters.CharFilter(field_name="robot__name")
    episode = django_filters.CharFilter(field_name="episode__external_id")
    model = django_filters.CharFilter(method="by_model", label="name or name@version")
    verdict = django_filters.ChoiceFilter(field_name="safety_verdict", choices=Verdict.choices)
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = InferenceResult
        fields: list[str] = []

    def by_model(self, queryset: Any, _name: str, value: str) -> Any:
        name, _, version = value.partition("@")
        queryset = queryset.filter(model_name=name)
        return queryset.filter(model_version=version) if version else queryset


class PolicyVersionFilter(StrictFilterSet):
    collection = django_filters.CharFilter(field_name="deployments__collection__slug", distinct=True)

    class Meta:
        model = PolicyVersion
        fields = ["name", "state"]
