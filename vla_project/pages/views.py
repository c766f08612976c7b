"""Home, the list of collections, and the replay of an episode."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers
from django.views.i18n import JavaScriptCatalog

from accounts.choices import Permission
from collections_app.selectors import permissions_on, permitted_episode
from collections_app.services import EpisodeChanges, update_episode
from core.problems import forbidden
from vla_project.pages import selectors
from vla_project.pages.attention import attention_of
from vla_project.pages.forms import EpisodeForm
from vla_project.pages.replay import episode_results, replay_of
from vla_project.pages.visitor import visitor_of

# The scripts' texts in the visitor's language; public, as the scripts are.
javascript_catalog = cache_control(max_age=3600)(vary_on_headers("Accept-Language")(JavaScriptCatalog.as_view()))

HOME_COLLECTIONS = 6
HOME_EPISODES = 8
LISTED_COLLECTIONS = 100


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """What needs the caller, and what goes on in their collections."""
    context = {
        "attention": attention_of(visitor_of(request)),
        "cards": selectors.collection_cards(request.user, limit=HOME_COLLECTIONS),
        "latest": selectors.latest_episodes(request.user, limit=HOME_EPISODES),
    }
    return render(request, "pages/home.html", context)


@require_safe
@login_required
def collections(request: HttpRequest) -> HttpResponse:
    """Every collection that the caller may read."""
    cards = selectors.collection_cards(request.user, limit=LISTED_COLLECTIONS)
    return render(request, "pages/collections.html", {"cards": cards})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def episode(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The replay of an episode; POST sets its outcome and tags."""
    shown = permitted_episode(request.user, pk, Permission.DATA_READ)
    permissions = permissions_on(request.user, shown.collection)
    may_label = Permission.FEEDBACK_WRITE in permissions
    form = EpisodeForm(
        request.POST if request.method == "POST" else None,
        initial={"outcome": shown.outcome, "tags": ", ".join(shown.tags)},
    )
    if request.method == "POST":
        if not may_label:
            raise forbidden()
        if form.is_valid():
            update_episode(
                episode=shown,
                changes=EpisodeChanges(outcome=form.cleaned_data["outcome"], tags=form.cleaned_data["tags"]),
            )
            messages.success(request, _("Saved."))
            return redirect(request.get_full_path())
    part = _part(request)
    results, more = episode_results(shown, part=part)
    context = {
        "episode": shown,
        "collection": shown.collection,
        "form": form,
        "may_label": may_label,
        "may_review": Permission.FEEDBACK_REVIEW in permissions,
        "part": part,
        "more": more,
        "results": results,
        "replay": replay_of(shown.collection, results, start_at=request.GET.get("at", "")),
    }
    return render(request, "pages/episode.html", context)


@require_safe
@login_required
def result(request: HttpRequest, request_id: uuid.UUID) -> HttpResponse:
    """One result: in its episode's replay where it has one, by itself otherwise."""
    found = selectors.visible_result(visitor_of(request), request_id)
    if found.episode_id:
        return redirect(f"{reverse('episode', args=[found.episode_id])}?at={request_id}")
    permissions = permissions_on(request.user, found.collection)
    context = {
        "episode": None,
        "may_label": Permission.FEEDBACK_WRITE in permissions,
        "may_review": Permission.FEEDBACK_REVIEW in permissions,
        "collection": found.collection,
        "results": [found],
        "replay": replay_of(found.collection, [found]),
    }
    return render(request, "pages/episode.html", context)


def _part(request: HttpRequest) -> int:
    part = request.GET.get("part", "1")
    return max(1, int(part)) if part.isdecimal() and len(part) < 6 else 1
