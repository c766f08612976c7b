from __future__ import annotations

from django_filters import rest_framework as filters

from core.filters import StrictFilterSet
from feedback.choices import FeedbackType, ReviewState
from feedback.models import Feedback


class FeedbackFilter(StrictFilterSet):
    """``collection`` by slug, ``request_id`` of the result, ``annotator`` by user name."""

    collection = filters.CharFilter(field_name="collection__slug")
    request_id = filters.UUIDFilter(field_name="inference_result__request_id")
    type = filters.ChoiceFilter(field_name="feedback_type", choices=FeedbackType.choices)
    annotator = filters.CharFilter(field_name="annotator__username")
    review_state = filters.ChoiceFilter(choices=ReviewState.choices)
    current = filters.BooleanFilter()
    created_after = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Feedback
        fields: list[str] = []
