"""The badges of the pages, for columns of admin lists."""

from __future__ import annotations

from typing import Any

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from core.templatetags.badges import badge


def state_badge(value: str, label: Any = None) -> SafeString | str:
    """``value`` with its tone, icon and ``label``; a dash where there is none."""
    return render_to_string("components/badge.html", badge(value, label)) if value else "–"
