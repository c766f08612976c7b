from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def moment(value: datetime | None, style: str = "relative") -> SafeString | str:
    """``value`` as a ``<time>`` that the browser rewrites to local time; UTC stays in its title.

    ``style`` is ``relative`` ("3 min ago"), ``short`` (day and minute) or ``exact`` (to the second). Without JavaScript
    it reads in UTC.
    """
    if value is None:
        return "–"
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-time="{}" title="{}">{}</time>',
        utc.isoformat(),
        style,
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        utc.strftime("%Y-%m-%d %H:%M UTC"),
    )
