"""What the admin pages of every app share."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property


class CappedPaginator(Paginator):
    """Counts no further than ``cap``: a list of a hundred million rows opens as fast as one of ten thousand.

    What lies beyond is found by filters and by search, not by turning two hundred pages.
    """

    cap = 10_000

    @cached_property
    def count(self) -> int:
        queryset: QuerySet[Any] = self.object_list  # type: ignore[assignment]  # what the admin pages through
        return queryset.order_by()[: self.cap].count()

    @property
    def is_capped(self) -> bool:
        """Whether there are at least as many rows as are counted."""
        return self.count >= self.cap


# By such columns no list is filtered: whoever may guess at a secret's beginning learns it letter by letter.
_SECRETS = frozenset(
    {"password", "secret", "secret_hash", "session_hash", "refresh_jti", "recovery_hashes", "signature"}
)


class ModelAdmin(admin.ModelAdmin):
    """Lists that stay quick on large tables; ``list_defer`` names columns that a list leaves in the database."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the whole table
    list_per_page = 50
    list_max_show_all = 0
    list_defer: tuple[str, ...] = ()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return _SECRETS.isdisjoint(lookup.split("__")) and super().lookup_allowed(lookup, value, request)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        queryset = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return queryset.defer(*self.list_defer) if is_list and self.list_defer else queryset


class ReadOnlyAdmin(ModelAdmin):
    """Rows that are looked at and never edited by hand."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
