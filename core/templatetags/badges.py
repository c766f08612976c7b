from __future__ import annotations

from typing import Any, NamedTuple

from django import template

register = template.Library()


class Look(NamedTuple):
    """How a state is shown: the tone colours it, the icon says the same without colour."""

    tone: str
    icon: str


LOOKS: dict[str, Look] = {
    # safety verdicts
    "pass": Look("pass", "pass"),
    "clamped": Look("warn", "clamped"),
    "rejected": Look("fail", "rejected"),
    # outcomes of episodes
    "success": Look("pass", "success"),
    "failure": Look("fail", "failure"),
    "aborted": Look("", "aborted"),
    # runs, stages and exports
    "queued": Look("", "queued"),
    "running": Look("accent", "running"),
    "succeeded": Look("pass", "succeeded"),
    "failed": Look("fail", "failed"),
    "cancelled": Look("", "cancelled"),
    # policy versions and deployments
    "registered": Look("", "queued"),
    "ready": Look("pass", "pass"),
    "retired": Look("", "cancelled"),
    "active": Look("accent", "live"),
    "shadow": Look("", "similar"),
    # feedback
    "open": Look("", "queued"),
    "assigned": Look("accent", "member"),
    "done": Look("pass", "pass"),
    "skipped": Look("", "skip-forward"),
    "correction": Look("human", "feedback"),
    "intervention": Look("human", "robot"),
    "accepted": Look("pass", "pass"),
    "sent_back": Look("warn", "undo"),
    "fixed": Look("human", "feedback"),
    "overruled": Look("", "rejected"),
    "settled": Look("pass", "pass"),
}
PLAIN = Look("", "dot")


@register.inclusion_tag("components/badge.html")
def badge(value: str, label: Any = None) -> dict[str, Any]:
    """``value`` (of any of the system's choices) as a badge; ``label`` is its translated name."""
    look = LOOKS.get(value, PLAIN)
    return {"tone": look.tone, "icon": look.icon, "label": label or value}
