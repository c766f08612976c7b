from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from core.problems import FieldError, Problem

# What pagination reads from the same query string.
_PAGING = {"cursor", "limit"}


class StrictFilterSet(filters.FilterSet):
    """Refuses parameters that it does not declare: a misspelt filter must not answer with everything.

    Nothing can be filtered by but the declared filters, so no look-up reaches columns such as a password.
    """

    @property
    def qs(self) -> QuerySet[Any]:
        unknown = sorted(set(self.data) - set(self.filters) - _PAGING)
        if unknown:
            errors = [FieldError(f"/{name}", "Unknown parameter.") for name in unknown]
            raise Problem(400, "invalid", "The query is not valid.", errors=errors)
        queryset: QuerySet[Any] = super().qs
        return queryset
