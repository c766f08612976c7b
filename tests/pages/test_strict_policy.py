"""Nothing in templates and scripts needs more than `script-src 'self'; style-src 'self'`, or writes raw HTML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static").rglob("*.js"))
STYLES = sorted((ROOT / "static").rglob("*.css"))


def named(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


@pytest.mark.parametrize("template", named(TEMPLATES))
def test_a_template_has_no_inline_script_style_or_unescaped_text(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=", text)
    assert not re.search(r"\son[a-z]+=", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"\|\s*safe\b|autoescape off|javascript:", text)


@pytest.mark.parametrize("script", named(SCRIPTS))
def test_a_script_writes_text_not_markup(script: Path) -> None:
    text = script.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"https?://(?!www\.w3\.org/)", text), "no outside host"


@pytest.mark.parametrize("style", named(STYLES))
def test_a_stylesheet_names_no_outside_host_and_no_colour_of_its_own(style: Path) -> None:
    text = style.read_text()
    assert not re.search(r"url\([\"']?https?:", text)
    if style.name != "tokens.css":
        plain = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        literal = [line for line in plain.splitlines() if re.search(r"#[0-9a-fA-F]{3,8}\b(?!.*\{)|rgb\(", line)]
        assert not literal
