"""The page that compares two policy versions of a collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.choices import Permission
from collections_app.selectors import permissions_on, permitted_collection
from core.problems import not_found
from inference.models import PolicyVersion
from vla_project.pages.comparison import DAYS, NEWEST, Measure, compare, versions_of

# The plot of an interval: its width in units of the picture, and the room left at either end.
_WIDTH, _MARGIN = 240, 8


@dataclass(frozen=True, slots=True)
class Plot:
    """The difference on a scale that is as wide to either side of zero: positions along the picture."""

    zero: float
    value: float
    low: float
    high: float


@require_safe
@login_required
def comparison(request: HttpRequest, slug: str) -> HttpResponse:
    """``?a=name@version&b=name@version``; without them the two newest versions."""
    collection = permitted_collection(request.user, slug, Permission.DATA_READ)
    permissions = permissions_on(request.user, collection)
    versions = versions_of(collection)
    context: dict[str, Any] = {
        "collection": collection,
        "tab": "compare",
        "permissions": permissions,
        "versions": versions,
        "newest": NEWEST,
        "days": DAYS,
    }
    first, second = _wanted(request, versions)
    if first is not None and second is not None:
        found = compare(collection, first, second)
        context |= {"found": found, "lines": [(measure, plot_of(measure)) for measure in found.measures]}
    return render(request, "pages/collection_compare.html", context | {"first": first, "second": second})


def _wanted(request: HttpRequest, versions: list[PolicyVersion]) -> tuple[PolicyVersion | None, PolicyVersion | None]:
    """The two versions that are asked for, else the two newest, the older one first. Raises ``Problem`` 404."""
    by_name = {str(version): version for version in versions}
    asked = [request.GET.get(side, "") for side in ("a", "b")]
    if any(name and name not in by_name for name in asked):
        raise not_found("The collection has no such policy version.")
    usual = [*reversed(versions[:2])] if len(versions) > 1 else [None, None]
    if not versions[1:]:
        return None, None
    first, second = (by_name.get(name) or other for name, other in zip(asked, usual, strict=True))
    return first, second


def plot_of(measure: Measure) -> Plot | None:
    """Where the difference and its interval lie in the picture, or None where there is no interval."""
    difference = measure.difference
    if difference is None or difference.low is None or difference.high is None:
        return None
    reach = max(abs(difference.low), abs(difference.high)) or 1.0
    half = _WIDTH / 2

    def place(value: float) -> float:
        return round(half + value / reach * (half - _MARGIN), 1)

    return Plot(half, place(difference.value), place(difference.low), place(difference.high))
