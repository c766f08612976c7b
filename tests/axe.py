"""What axe, the accessibility engine, finds wrong with a page."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page

_SCRIPT = Axe().axe_script
# Only what is wrong is told, by its HTML: finding a selector for each element takes as long as a rule. No style sheet
# is fetched again, which no rule that is on by default reads.
_OPTIONS = {"reporter": "no-passes", "selectors": False, "preload": {"assets": ["media"]}}


def violations(page: Page, **options: Any) -> list[dict[str, Any]]:
    """Each rule that the page breaks, with the elements that break it; ``options`` are axe's."""
    page.evaluate(_SCRIPT)
    found: list[dict[str, Any]] = page.evaluate(
        "options => axe.run(options).then(found => found.violations)", {**_OPTIONS, **options}
    )
    return found
