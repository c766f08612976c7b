"""Search over every collection that a person may read, and one collection's map."""

from __future__ import annotations

import uuid
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts.choices import Permission
from accounts.models import User
from collections_app.models import Collection
from collections_app.selectors import permissions_on, permitted_collection
from core.problems import Problem
from feedback.selectors import reviewable
from inference.selectors import image_url
from pipeline.choices import SearchBy
from pipeline.embeddings.duplicates import near_duplicates
from pipeline.embeddings.image_encoders import image_model
from pipeline.embeddings.map import map_of
from pipeline.embeddings.search import Hit, search
from pipeline.models import SavedSearch
from pipeline.services import delete_saved_search, save_search
from vla_project.pages.forms import SaveSearchForm, SearchForm
from vla_project.pages.visitor import visitor_of

FOUND_AT_MOST = 48


@require_safe
@login_required
def search_page(request: HttpRequest) -> HttpResponse:
    """Moments by meaning and words, or like a given one; the address is the whole query and can be shared."""
    form = SearchForm(request.GET)
    hits: list[Hit] = []
    asked = form.is_valid() and bool(form.cleaned_data["q"].strip() or form.cleaned_data["similar_to"])
    if asked:
        hits = _found(request, form)
    visitor = visitor_of(request)
    context = {
        "form": form,
        "asked": asked,
        "hits": [(hit, _thumbnail(hit)) for hit in hits],
        "reviewed": _reviewed(visitor, hits),
        "link": form.link() if form.is_valid() else {},
        "narrowed": len(form.link().keys() - {"q", "similar_to"}) if form.is_valid() else 0,
        "sees": image_model() is not None,
        "collections": Collection.objects.restrict(visitor).filter(archived_at=None).order_by("name")[:200],
        "saved": [(saved, urlencode(saved.query)) for saved in SavedSearch.objects.filter(owner=visitor)],
    }
    return render(request, "pages/search.html", context)


@require_POST
@login_required
def save(request: HttpRequest) -> HttpResponse:
    """Keep the search whose parameters the form repeats."""
    form, named = SearchForm(request.POST), SaveSearchForm(request.POST)
    if not (form.is_valid() and named.is_valid()):
        messages.error(request, _("Give the search a name."))
        return redirect("search")
    query = form.link()
    try:
        save_search(owner=visitor_of(request), name=named.cleaned_data["name"], query=query)
        messages.success(request, _("The search is saved."))
    except Problem as problem:
        messages.error(request, problem.errors[0].detail if problem.errors else problem.detail)
    return redirect(f"/search/?{urlencode(query)}")


@require_POST
@login_required
def delete_saved(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Forget one of one's own searches."""
    delete_saved_search(saved=get_object_or_404(SavedSearch, pk=pk, owner=visitor_of(request)))
    messages.success(request, _("The search is forgotten."))
    return redirect("search")


@require_safe
@login_required
def collection_map(request: HttpRequest, slug: str) -> HttpResponse:
    """The collection's texts on a plane, and those that say the same."""
    collection = permitted_collection(request.user, slug, Permission.DATA_READ)
    permissions = permissions_on(request.user, collection)
    visitor = visitor_of(request)
    context = {
        "collection": collection,
        "tab": "map",
        "permissions": permissions,
        "map": map_of(visitor, collection),
        "groups": near_duplicates(principal=visitor, collection=collection, limit=20),
    }
    return render(request, "pages/collection_map.html", context)


def _found(request: HttpRequest, form: SearchForm) -> list[Hit]:
    asked = form.cleaned_data
    if asked["collection"]:
        permitted_collection(request.user, asked["collection"], Permission.DATA_READ)
    try:
        return search(
            principal=visitor_of(request),
            text=asked["q"],
            similar_to=asked["similar_to"],
            by=asked["by"] or SearchBy.TEXT,
            filters=form.filters(),
            limit=FOUND_AT_MOST,
        )
    except Problem as problem:
        messages.error(request, problem.errors[0].detail if problem.errors else problem.detail)
        return []


def _reviewed(visitor: User, hits: list[Hit]) -> set[uuid.UUID]:
    """The collections of ``hits`` in which ``visitor`` may have people asked about moments like a result."""
    found = {hit.result.collection_id for hit in hits}
    return set(reviewable(visitor).filter(pk__in=found).values_list("pk", flat=True)) if found else set()


def _thumbnail(hit: Hit) -> str:
    """A link to the first picture, or "" where there is none."""
    camera = hit.camera or next(iter(hit.result.images), None)
    return image_url(hit.result, camera) if camera else ""
