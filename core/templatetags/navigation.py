from __future__ import annotations

from typing import Any

from django import template
from django.urls import reverse

register = template.Library()


@register.inclusion_tag("components/nav_link.html", takes_context=True)
def nav_link(context: dict[str, Any], view_name: str, icon: str, label: Any, *also_under: str) -> dict[str, Any]:
    """A link of the main navigation, current on its page, on those below it, and below the paths ``also_under``."""
    url = reverse(view_name)
    path = context["request"].path
    current = path == url or any(path.startswith(prefix) for prefix in (*also_under, url) if prefix != "/")
    return {"url": url, "icon": icon, "label": label, "current": current}


@register.simple_tag(takes_context=True)
def same_page(context: dict[str, Any], **changes: Any) -> str:
    """This page's query string with ``changes``; a value of None or "" takes a parameter away."""
    query = context["request"].GET.copy()
    for name, value in changes.items():
        if value in (None, ""):
            query.pop(name, None)
        else:
            query[name] = value
    return f"?{query.urlencode()}" if query else "?"
