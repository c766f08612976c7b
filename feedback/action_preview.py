"""What a bulk action of the admin would change, shown before it does."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from collections_app.restricted_admin import RestrictedAdmin


def preview(
    model_admin: RestrictedAdmin,
    request: HttpRequest,
    queryset: QuerySet[Any],
    *,
    action: str,
    title: str,
    form: Form | None = None,
) -> HttpResponse:
    """What an action would change, with what ``form`` asks and a button that does it."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "form": form,
        "opts": model_admin.model._meta,
        "action": action,
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "affected": list(queryset[:200]),
        "count": queryset.count(),
    }
    return render(request, "feedback/admin_preview.html", context)
