"""The admin's lists turn their pages by the last row seen, so that the last page costs what the first one costs."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import orjson
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db.models import Field, Model, Q
from django.http import HttpRequest
from django.utils.text import capfirst

AFTER = "after"
BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Key:
    """One column of an order. PostgreSQL puts nulls last where it ascends and first where it descends."""

    field: Field[Any, Any]
    descending: bool

    @property
    def name(self) -> str:
        return self.field.attname

    def text_of(self, row: Model) -> str | None:
        return None if getattr(row, self.name) is None else self.field.value_to_string(row)

    def beyond(self, value: Any) -> Q | None:
        """Rows that stand after ``value`` in this column, or None where none can."""
        if value is None:
            return Q(**{f"{self.name}__isnull": False}) if self.descending else None
        further = Q(**{f"{self.name}__{'lt' if self.descending else 'gt'}": value})
        return further | Q(**{f"{self.name}__isnull": True}) if self.field.null and not self.descending else further

    def at(self, value: Any) -> Q:
        return Q(**{f"{self.name}__isnull": True}) if value is None else Q(**{self.name: value})

    def not_short_of(self, value: Any) -> Q:
        """What follows from ``beyond | at``, in the one form from which PostgreSQL starts an index at the place."""
        if value is None or (self.field.null and not self.descending):
            return Q()
        return Q(**{f"{self.name}__{'lte' if self.descending else 'gte'}": value})


def rows_beyond(keys: list[Key], values: list[Any]) -> Q:
    """The rows that come after the one with ``values``, in the order of ``keys``, whose last is unique."""
    found = Q(pk__in=[])
    same = Q()
    for key, value in zip(keys, values, strict=True):
        further = key.beyond(value)
        if further is not None:
            found |= same & further
        same &= key.at(value)
    return keys[0].not_short_of(values[0]) & found


class KeysetChangeList(ChangeList):
    """``after`` and ``before`` in the address hold the values by which the row at the page's edge was sorted.

    A list that somebody sorts by another table's column or by an expression has no such values, and turns by numbers
    of pages, as Django's own lists do, through no more rows than are counted.
    """

    # Query strings of the neighbouring pages; empty where there is none.
    first = previous = next = ""
    numbered = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_popup:
            self.title = capfirst(str(self.opts.verbose_name_plural))

    @property
    def csv(self) -> str:
        """Where the list is downloaded as it is filtered and sorted."""
        return f"csv/{self.get_query_string()}"

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        for name in (AFTER, BEFORE):  # no filters, and not part of what other links keep
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        return super().get_queryset(request, *args, **kwargs)

    def get_results(self, request: HttpRequest) -> None:
        keys = self._keys()
        if keys is None:
            self.numbered = True
            super().get_results(request)
            return
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
        self.result_count = self.paginator.count
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.result_list = self._page(keys, after=request.GET.get(AFTER, ""), before=request.GET.get(BEFORE, ""))

    def _page(self, keys: list[Key], *, after: str, before: str) -> list[Any]:
        """The rows to show. One more than fits is asked for, and says whether there is a page beyond them."""
        size = self.list_per_page
        if before:
            backwards = [Key(key.field, not key.descending) for key in keys]
            found = list(self.queryset.reverse().filter(rows_beyond(backwards, _values_at(keys, before)))[: size + 1])
            rows, more_before, more_after = found[:size][::-1], len(found) > size, True
        else:
            queryset = self.queryset.filter(rows_beyond(keys, _values_at(keys, after))) if after else self.queryset
            found = list(queryset[: size + 1])
            rows, more_before, more_after = found[:size], bool(after), len(found) > size
        self.first = self.get_query_string() if more_before else ""
        if rows:
            self.previous = self.get_query_string({BEFORE: cursor_of(keys, rows[0])}) if more_before else ""
            self.next = self.get_query_string({AFTER: cursor_of(keys, rows[-1])}) if more_after else ""
        return rows

    def _keys(self) -> list[Key] | None:
        """The columns that the list is sorted by, up to the first that no two rows share; None where one is no column
        of the table."""
        keys = []
        for part in self.queryset.query.order_by:
            name = part.removeprefix("-") if isinstance(part, str) else ""
            try:
                field: Any = self.lookup_opts.pk if name == "pk" else self.lookup_opts.get_field(name)
            except FieldDoesNotExist:
                return None
            if not field.concrete or (field.is_relation and name == field.name):  # sorted as the other table is
                return None
            keys.append(Key(field, descending=part.startswith("-")))
            if field.unique and not field.null:
                return keys
        last = Key(self.lookup_opts.pk, descending=True)
        self.queryset = self.queryset.order_by(*self.queryset.query.order_by, "-pk")
        return [*keys, last]


def cursor_of(keys: list[Key], row: Model) -> str:
    """The place of ``row`` in that order, as it stands in an address."""
    return base64.urlsafe_b64encode(orjson.dumps([key.text_of(row) for key in keys])).decode().rstrip("=")


def _values_at(keys: list[Key], cursor: str) -> list[Any]:
    """Values that ``cursor_of`` wrote. What is none of them leads back to the first page, as a wrong filter does."""
    try:
        texts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(texts, list) or len(texts) != len(keys):
            raise IncorrectLookupParameters
        return [None if text is None else key.field.to_python(str(text)) for key, text in zip(keys, texts, strict=True)]
    except (ValueError, ValidationError):
        raise IncorrectLookupParameters from None
