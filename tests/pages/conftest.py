from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests.chromium import open_chromium

WIDE = {"width": 1440, "height": 900}
NARROW = {"width": 390, "height": 844}

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module. Playwright keeps an event loop, which Django mistakes for async code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with open_chromium() as browser:
            yield browser


@pytest.fixture(scope="module")
def profile(chromium: Browser, live_server: LiveServer) -> BrowserContext:
    """One for the tests of a module: it keeps the scripts and styles that every page wants."""
    context = chromium.new_context(base_url=live_server.url)
    context.set_default_timeout(10_000)
    return context


def _is_fault(message: ConsoleMessage, page: Page) -> bool:
    """Whether the browser complains of a page: neither of what a test itself does in it, which comes from no address,
    nor of the page's being one that says that there is an error."""
    source = message.location["url"]
    is_error_page = source == page.url and "the server responded with a status" in message.text
    return message.type == "error" and bool(source) and not is_error_page


@pytest.fixture
def visit(profile: BrowserContext, live_server: LiveServer) -> Iterator[Visit]:
    """``visit(path, user)``: a page that ``user`` has opened. Whatever it complains of fails the test."""
    pages: list[Page] = []
    complaints: list[str] = []

    def open_page(
        path: str,
        user: User | None,
        *,
        size: Any = WIDE,
        theme: Any = "light",
        prepare: Callable[[Page], None] | None = None,
    ) -> Page:
        if user is None:
            profile.clear_cookies()
        else:
            client = Client()
            client.force_login(user)
            session = client.cookies[settings.SESSION_COOKIE_NAME].value
            profile.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
        page = profile.new_page()
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=theme)
        pages.append(page)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: complaints.append(f"{page.url}: {message.text}") if _is_fault(message, page) else None,
        )
        if prepare is not None:
            prepare(page)
        page.goto(path)
        return page

    yield open_page
    for page in pages:
        page.evaluate("localStorage.clear()")
        page.close()
    profile.clear_cookies()
    assert not complaints, "\n".join(complaints)
