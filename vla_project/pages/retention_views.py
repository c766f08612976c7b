"""How long a collection keeps what: its rules, what each would remove now, and changing them."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts.choices import Permission
from pipeline.models import RetentionRule
from pipeline.services import delete_retention_rule, save_retention_rule
from pipeline.storage.retention import preview
from vla_project.pages.collection_views import need, open_tab
from vla_project.pages.forms import RetentionForm


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def retention(request: HttpRequest, slug: str) -> HttpResponse:
    """The rules; POST sets the rule of one kind of data. ``?preview=1`` counts what each would remove now."""
    collection, context = open_tab(request, slug, "retention")
    form = RetentionForm(request.POST or None)
    if request.method == "POST":
        need(context, Permission.COLLECTION_MANAGE)
        if form.is_valid():
            values = form.cleaned_data
            rule = RetentionRule.objects.filter(collection=collection, kind=values["kind"]).first()
            rule = rule or RetentionRule(collection=collection, kind=values["kind"])
            changed = {name: value for name, value in values.items() if getattr(rule, name) != value or not rule.pk}
            for name, value in changed.items():
                setattr(rule, name, value)
            try:
                save_retention_rule(rule=rule, changed=changed)
            except ValidationError as error:
                form.add_error(None, error.messages)
            else:
                messages.success(request, _("%(rule)s.") % {"rule": rule})
                return redirect("collection-retention", slug)
    rules = RetentionRule.objects.filter(collection=collection).order_by("kind")
    counts = bool(request.GET.get("preview")) and context["may_manage"]
    context |= {
        "form": form,
        "rules": [(rule, preview(rule) if counts else None) for rule in rules],
        "counted": counts,
    }
    return render(request, "pages/collection_retention.html", context)


@require_POST
@login_required
def remove_rule(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Delete a rule: what it would have removed is kept from now on."""
    collection, context = open_tab(request, slug, "retention")
    need(context, Permission.COLLECTION_MANAGE)
    rule = get_object_or_404(RetentionRule, pk=pk, collection=collection)
    kind = rule.get_kind_display()
    delete_retention_rule(rule=rule)
    messages.success(request, _("%(kind)s: kept without end.") % {"kind": kind})
    return redirect("collection-retention", slug)
