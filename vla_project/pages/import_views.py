"""Members and robots of a collection from a spreadsheet."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from accounts.choices import Permission
from collections_app import spreadsheets
from core.problems import not_found
from vla_project.pages.collection_views import need, open_tab
from vla_project.pages.forms import SpreadsheetForm

# Where each kind is shown: the tab and its page.
SHOWN = {"members": ("members", "collection-members"), "robots": ("overview", "collection")}


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def import_spreadsheet(request: HttpRequest, slug: str, kind: str) -> HttpResponse:
    """POST shows what each line would do; with ``confirm`` it does all of it or, where a line is wrong, nothing."""
    if kind not in spreadsheets.KINDS:
        raise not_found()
    tab, home = SHOWN[kind]
    collection, context = open_tab(request, slug, tab)
    need(context, Permission.COLLECTION_MANAGE)
    sheet, plan = spreadsheets.KINDS[kind], None
    form = SpreadsheetForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        try:
            plan = sheet.plan(collection, form.cleaned_data["text"])
        except ValidationError as error:
            form.add_error("file", error)
        if plan and plan.ready and "confirm" in request.POST:
            count = sheet.apply(collection, plan)
            messages.success(request, ngettext("%d line was taken over.", "%d lines were taken over.", count) % count)
            return redirect(home, slug)
    context |= {"form": form, "sheet": sheet, "kind": kind, "plan": plan, "back": reverse(home, args=[slug])}
    return render(request, "pages/collection_import.html", context)
