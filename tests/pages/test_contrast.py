"""WCAG 2.2 AA of the tokens themselves: every text colour on every surface that it is used on, in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

TOKENS = Path(settings.BASE_DIR, "static/css/tokens.css").read_text()
SURFACES = ("canvas", "surface", "raised", "sunken", "hover")
TEXT_ON_SURFACES = ("ink", "ink-muted", "ink-faint", "accent")
STATES = ("pass", "warn", "fail", "human")
PLOT_LINES = (
    "plot-past",
    "plot-proposed",
    "plot-compared",
    "plot-warn",
    "plot-fail",
    "plot-limit",
    "human",
    "accent",
    "line-strong",
)


def colour(name: str, theme: str) -> str:
    """``#rrggbb`` of a token."""
    found = re.search(rf"--{name}: light-dark\((#\w{{6}}), (#\w{{6}})\);", TOKENS)
    assert found, f"--{name} is not a pair of colours"
    return found[1 if theme == "light" else 2]


def luminance(value: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = (int(value[at : at + 2], 16) / 255 for at in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("text", TEXT_ON_SURFACES)
def test_text_reads_on_every_surface(text: str, surface: str, theme: str) -> None:
    assert contrast(colour(text, theme), colour(surface, theme)) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("ground", ["wash", "surface"])
def test_states_read_on_their_wash_and_on_cards(state: str, ground: str, theme: str) -> None:
    beneath = colour(f"{state}-wash" if ground == "wash" else ground, theme)
    assert contrast(colour(state, theme), beneath) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_buttons_read(theme: str) -> None:
    for ground in ("accent", "accent-strong"):
        assert contrast(colour("ink-inverse", theme), colour(ground, theme)) >= 4.5
    assert contrast(colour("accent-strong", theme), colour("accent-wash", theme)) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("line", PLOT_LINES)
def test_lines_and_field_borders_stand_out(line: str, theme: str) -> None:
    assert contrast(colour(line, theme), colour("surface", theme)) >= 3.0
