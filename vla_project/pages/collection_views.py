"""The tabs of a collection's page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.choices import Permission, Role
from collections_app.models import Collection, Membership
from collections_app.selectors import permissions_on, permitted_collection
from collections_app.services import remove_membership, set_membership
from core.problems import Problem, forbidden
from inference.models import InferenceResult
from inference.selectors import image_url
from pipeline.embeddings.filters import SearchFilters
from pipeline.embeddings.search import Hit, search
from pipeline.selectors import collection_exports, collection_runs, export_files
from pipeline.services import start_export, start_run
from vla_project.pages import overview_figures, selectors
from vla_project.pages.forms import EpisodeFilterForm, ExportForm, MemberForm, ResultFilterForm
from vla_project.pages.keyset import page_of
from vla_project.pages.lists_as_csv import EPISODE_COLUMNS, RESULT_COLUMNS, newest_as_csv, spreadsheet_response
from vla_project.pages.visitor import visitor_of

FOUND_AT_MOST = 50
# What no list shows.
HEAVY = ("input_state", "output_actions", "proposed_actions", "images", "safety_violations")


@require_safe
@login_required
def overview(request: HttpRequest, slug: str) -> HttpResponseBase:
    """What goes on in the collection: the last day in plots, who drives it, its robots; ``?csv`` downloads those."""
    collection, context = open_tab(request, slug, "overview")
    if "csv" in request.GET:
        return spreadsheet_response(collection, "robots")
    context |= {
        "statistics": selectors.statistics_of(collection),
        "recent": selectors.recent(collection),
        "scores": selectors.safety_scores(collection),
        "deployments": selectors.deployments_of(collection),
        "robots": selectors.robots_of(collection)[:12],
        "labels": overview_figures.labels_per_day(collection),
        "runs": overview_figures.quality_of_runs(collection),
        "reviews": overview_figures.reviews_of(collection),
        "storage": overview_figures.storage_of(collection),
    }
    context["reviewed"] = sum(context["reviews"].values())
    context["stored_bytes"] = sum(kept.bytes for kept in context["storage"])
    return render(request, "pages/collection_overview.html", context)


@require_safe
@login_required
def results(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Browse recorded results, or search them by what was meant; ``?csv`` downloads what the filters leave."""
    collection, context = open_tab(request, slug, "results")
    form = ResultFilterForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    if "csv" in request.GET:
        chosen = {name: wanted.get(name, "") for name in ("verdict", "robot", "model")}
        found = selectors.results_of(collection, **chosen).defer(*HEAVY)
        return newest_as_csv(collection, found, RESULT_COLUMNS, query=chosen, filename=f"{slug}-results.csv")
    if wanted.get("q"):
        context["found"] = [(hit, _thumbnail(hit.result)) for hit in _search(request, collection, wanted)]
    else:
        narrowed = selectors.results_of(
            collection, verdict=wanted.get("verdict", ""), robot=wanted.get("robot", ""), model=wanted.get("model", "")
        )
        page = page_of(narrowed, before=request.GET.get("before", ""))
        context |= {"page": page, "rows": [(result, _thumbnail(result)) for result in page.rows]}
    context |= {"form": form, "filtered": any(wanted.values()), "robots": selectors.robots_of(collection)[:100]}
    return render(request, "pages/collection_results.html", context)


@require_safe
@login_required
def episodes(request: HttpRequest, slug: str) -> HttpResponseBase:
    """The collection's episodes, newest first; ``?csv`` downloads what the filters leave."""
    collection, context = open_tab(request, slug, "episodes")
    form = EpisodeFilterForm(request.GET)
    wanted = form.cleaned_data if form.is_valid() else {}
    narrowed = selectors.episodes_of(collection, **wanted)
    if "csv" in request.GET:
        return newest_as_csv(collection, narrowed, EPISODE_COLUMNS, query=wanted, filename=f"{slug}-episodes.csv")
    page = page_of(narrowed, before=request.GET.get("before", ""))
    context |= {
        "form": form,
        "filtered": any(wanted.values()),
        "page": page,
        "robots": selectors.robots_of(collection)[:100],
    }
    return render(request, "pages/collection_episodes.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def exports(request: HttpRequest, slug: str) -> HttpResponse:
    """The collection's data sets; POST starts another."""
    collection, context = open_tab(request, slug, "exports")
    form = ExportForm(request.POST or None)
    if request.method == "POST":
        need(context, Permission.EXPORT_WRITE)
        if form.is_valid() and _attempt(
            request,
            lambda: start_export(
                collection=collection, export_format=form.cleaned_data["format"], requested_by=visitor_of(request)
            ),
        ):
            messages.success(request, _("The export has begun. It appears below when it is ready."))
            return redirect("collection-exports", slug)
    newest = collection_exports(collection).prefetch_related("files")
    page = page_of(newest, before=request.GET.get("before", ""), size=15)
    context |= {"form": form, "page": page, "rows": [(export, export_files(export)) for export in page.rows]}
    return render(request, "pages/collection_exports.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def runs(request: HttpRequest, slug: str) -> HttpResponse:
    """The collection's pipeline runs; POST starts another."""
    collection, context = open_tab(request, slug, "runs")
    if request.method == "POST":
        need(context, Permission.EXPORT_WRITE)
        if _attempt(request, lambda: start_run(collection=collection, requested_by=visitor_of(request))):
            messages.success(request, _("The run has begun."))
        return redirect("collection-runs", slug)
    page = page_of(
        collection_runs(collection).prefetch_related("stages"), before=request.GET.get("before", ""), size=15
    )
    return render(request, "pages/collection_runs.html", context | {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def members(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Who may do what with the collection, with ``?csv`` as a download; POST adds somebody or changes a role."""
    collection, context = open_tab(request, slug, "members")
    if "csv" in request.GET:
        return spreadsheet_response(collection, "members")
    form = MemberForm(request.POST or None)
    if request.method == "POST":
        need(context, Permission.COLLECTION_MANAGE)
        if form.is_valid():
            user, role = form.cleaned_data["user"], Role(form.cleaned_data["role"])
            set_membership(collection=collection, user=user, role=role)
            messages.success(request, _("%(user)s is now %(role)s.") % {"user": user, "role": role.label})
            return redirect("collection-members", slug)
    memberships = Membership.objects.filter(collection=collection).select_related("user").order_by("user__username")
    return render(request, "pages/collection_members.html", context | {"form": form, "memberships": memberships})


@require_POST
@login_required
def remove_member(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """End somebody's membership."""
    collection, context = open_tab(request, slug, "members")
    need(context, Permission.COLLECTION_MANAGE)
    membership = get_object_or_404(Membership.objects.select_related("user"), pk=pk, collection=collection)
    remove_membership(membership=membership)
    messages.success(request, _("%(user)s is no longer a member.") % {"user": membership.user})
    return redirect("collection-members", slug)


# --- shared by the tabs -----------------------------------------------------------------------------------------------


def open_tab(request: HttpRequest, slug: str, tab: str) -> tuple[Collection, dict[str, Any]]:
    """The collection, where the caller may read it, and what every tab's template needs."""
    collection = permitted_collection(request.user, slug, Permission.DATA_READ)
    permissions = permissions_on(request.user, collection)
    return collection, {
        "collection": collection,
        "tab": tab,
        "permissions": permissions,
        "may_export": Permission.EXPORT_WRITE in permissions,
        "may_manage": Permission.COLLECTION_MANAGE in permissions,
    }


def need(context: dict[str, Any], permission: Permission) -> None:
    if permission not in context["permissions"]:
        raise forbidden(f"You need the permission {permission.value} on this collection.")


def _attempt(request: HttpRequest, start: Callable[[], object]) -> bool:
    """Call ``start``; its refusal becomes a message on the page instead of a page of its own."""
    try:
        start()
    except Problem as problem:
        messages.error(request, problem.errors[0].detail if problem.errors else problem.detail)
        return False
    return True


def _search(request: HttpRequest, collection: Collection, wanted: dict[str, str]) -> list[Hit]:
    filters = SearchFilters(
        collection=collection.slug,
        verdict=wanted["verdict"] or None,
        robot=wanted["robot"] or None,
        model=wanted["model"] or None,
    )
    return search(principal=request.user, text=wanted["q"], filters=filters, limit=FOUND_AT_MOST)


def _thumbnail(result: InferenceResult) -> str:
    """A link to the result's first picture, or "" where it has none."""
    camera = next(iter(result.images), None)
    return image_url(result, camera) if camera else ""
