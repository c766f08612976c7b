from __future__ import annotations

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from collections_app.choices import Outcome
from collections_app.models import Collection, Episode
from core.filters import StrictFilterSet


class CollectionFilter(StrictFilterSet):
    archived = filters.BooleanFilter(field_name="archived_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Collection
        fields: list[str] = []


class EpisodeFilter(StrictFilterSet):
    """``collection`` by slug, ``robot`` by its own name, ``tag`` one that the episode has."""

    collection = filters.CharFilter(field_name="collection__slug")
    robot = filters.CharFilter(field_name="robot__name")
    external_id = filters.CharFilter(field_name="external_id")
    outcome = filters.ChoiceFilter(choices=Outcome.choices)
    tag = filters.CharFilter(method="with_tag")
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Episode
        fields: list[str] = []

    def with_tag(self, queryset: QuerySet[Episode], _name: str, value: str) -> QuerySet[Episode]:
        return queryset.filter(tags__contains=[value])
