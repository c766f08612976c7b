from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

BAR = 4
GAP = 2
HEIGHT = 24


@register.simple_tag
def bars(values: Sequence[float], label: str) -> SafeString:
    """``values`` as a row of small bars, oldest first, that stretches to its container; ``label`` says it in words."""
    highest = max([*values, 1])
    heights = [max(1.0, round(HEIGHT * value / highest, 1)) if value else 0.0 for value in values]
    rects = [(at * (BAR + GAP), HEIGHT - height, BAR, height) for at, height in enumerate(heights)]
    return format_html(
        '<svg class="bars" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>',
        len(values) * (BAR + GAP) - GAP,
        HEIGHT,
        label,
        format_html_join("", '<rect x="{}" y="{}" width="{}" height="{}"></rect>', rects),
    )
