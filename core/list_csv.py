"""A list of the admin as CSV: the rows that its filters leave, in its order, the columns that it shows."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import orjson
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist, PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.html import strip_tags
from django.utils.text import capfirst

from core.csv_lines import ROWS_AT_MOST, csv_response
from core.signals import list_downloaded

CHUNK = 1000


def download(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """The list as ``request`` filters and sorts it. Who took it is news for whoever keeps the audit trail."""
    if not model_admin.has_view_or_change_permission(request):
        raise PermissionDenied
    opts = model_admin.opts
    try:
        shown = model_admin.get_changelist_instance(request)
    except IncorrectLookupParameters:
        return HttpResponseRedirect(reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist"))
    columns = [name for name in shown.list_display if name not in ("action_checkbox", *model_admin.list_csv_omits)]
    titles = [capfirst(str(label_for_field(name, shown.model, model_admin))) for name in columns]
    list_downloaded.send(shown.model, query=request.GET.dict())
    has_id = "id" in columns or shown.pk_attname in columns
    return csv_response(
        titles if has_id else ["id", *titles],
        _rows(shown, columns, model_admin, with_id=not has_id),
        filename=f"{opts.model_name}-list.csv",
    )


def _rows(shown: ChangeList, columns: list[Any], model_admin: Any, *, with_id: bool) -> Iterator[list[Any]]:
    for row in shown.queryset[:ROWS_AT_MOST].iterator(chunk_size=CHUNK):
        cells = [_cell(name, row, model_admin) for name in columns]
        yield [row.pk, *cells] if with_id else cells


def _cell(name: str | Callable[[Any], Any], row: Model, model_admin: Any) -> Any:
    """The value of a column, as exact as it is kept: a badge gives its state, a moment all of its digits."""
    try:
        field, attribute, value = lookup_field(name, row, model_admin)
    except ObjectDoesNotExist:
        return ""
    if field is None:
        value = _sorted_by(attribute, row, value)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, dict)):
        return orjson.dumps(value, default=str).decode()
    return value if isinstance(value, (int, float)) else html.unescape(strip_tags(str(value)))


def _sorted_by(attribute: Any, row: Model, shown: Any) -> Any:
    """What a computed column shows, or the column of the table that it stands for where it is sorted by one."""
    order = getattr(attribute, "admin_order_field", None)
    if not isinstance(order, str):
        return shown
    try:
        return getattr(row, row._meta.get_field(order.removeprefix("-")).attname)  # type: ignore[union-attr]
    except (FieldDoesNotExist, AttributeError):
        return shown
