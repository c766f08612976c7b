"""What the admin pages of every app share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db.models import DateTimeField, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.functional import cached_property

from core import list_csv
from core.keyset_list import KeysetChangeList
from core.templatetags.times import moment


class CappedPaginator(Paginator):
    """Counts no further than ``cap``: a list of a hundred million rows opens as fast as one of a thousand."""

    cap = 1_000

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


class LocalTimes(admin.ModelAdmin):
    """Lists show moments in the reader's own time, with UTC in the title, as the other pages do."""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [self._local(name) for name in super().get_list_display(request)]

    def _local(self, name: Any) -> Any:
        if not isinstance(name, str) or hasattr(self, name):
            return name
        try:
            field = self.opts.get_field(name)
        except FieldDoesNotExist:
            return name
        return _moment_column(field.name, str(field.verbose_name)) if isinstance(field, DateTimeField) else name


@cache
def _moment_column(name: str, title: str) -> Callable[[Any], str]:
    """A list's column of moments. One object for each name, because the admin compares columns."""

    @admin.display(description=title, ordering=name)
    def column(row: Any) -> str:
        return moment(getattr(row, name), "exact")

    column.__name__ = name
    return column


class ModelAdmin(LocalTimes):
    """Lists that stay quick on large tables, and can be taken along as CSV.

    ``list_defer`` names columns that a list leaves in the database, ``list_csv_omits`` those that a file leaves out.
    """

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would count the whole table
    list_per_page = 50
    list_max_show_all = 0
    list_defer: tuple[str, ...] = ()
    list_csv_omits: tuple[str, ...] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", self.admin_site.admin_view(self.csv_view), name=name), *super().get_urls()]

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        """What the list shows, all pages of it, as CSV."""
        return list_csv.download(self, request)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return _SECRETS.isdisjoint(lookup.split("__")) and super().lookup_allowed(lookup, value, request)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        queryset = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith(("_changelist", "_csv"))
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
