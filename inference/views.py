"""Pages about what robots do now."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.choices import Permission
from collections_app.models import Collection
from collections_app.selectors import permissions_on, permitted_collection
from inference.fleet import live_message, newest_results

# Stands in links that a script completes with a real one.
ANY_REQUEST = "00000000-0000-0000-0000-000000000000"


@require_safe
@login_required
def live_index(request: HttpRequest) -> HttpResponse:
    """To the live page of the caller's newest collection."""
    collection = Collection.objects.restrict(request.user).filter(archived_at=None).first()
    return redirect("live", collection.slug) if collection else redirect("collections")


@require_safe
@login_required
def live(request: HttpRequest, slug: str) -> HttpResponse:
    """The robots of a collection as they act; everything after the first picture comes over ``/ws/inference``."""
    collection = permitted_collection(request.user, slug, Permission.DATA_READ)
    others = Collection.objects.restrict(request.user).filter(archived_at=None).exclude(pk=collection.pk)
    may_flag = Permission.FEEDBACK_WRITE in permissions_on(request.user, collection)
    context = {
        "collection": collection,
        "others": others.order_by("name")[:20],
        "may_flag": may_flag,
        "page_data": _page_data(collection, may_flag=may_flag),
    }
    return render(request, "inference/live.html", context)


def _page_data(collection: Collection, *, may_flag: bool) -> dict[str, Any]:
    """What the page's modules need to know before the first message."""
    space = collection.action_space
    return {
        "collection": collection.slug,
        "socket": f"/ws/inference?collection={collection.slug}",
        "cameras": collection.cameras,
        "control_rate_hz": space.control_rate_hz,
        "dimensions": [
            {"name": d.name, "unit": d.unit, "kind": d.kind, "low": d.low, "high": d.high}
            for d in space.dimensions.all()
        ],
        "result_url": reverse("result", args=[ANY_REQUEST]),
        "flag_url": reverse("feedback-flag", args=[ANY_REQUEST]) if may_flag else None,
        "any_request": ANY_REQUEST,
        "results": [live_message(result) for result in newest_results(collection)],
    }
