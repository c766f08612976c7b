"""A headless Chromium on a live server that shares the test's database."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from accounts.choices import Role
from accounts.models import User
from collections_app.models import Collection
from core import object_store
from feedback.models import FeedbackTask
from tests.chromium import open_chromium
from tests.factories import CollectionFactory, EpisodeFactory, FeedbackTaskFactory, InferenceResultFactory
from tests.factories import MembershipFactory as Member


@pytest.fixture(scope="module", autouse=True)
def chromium() -> Iterator[Browser]:
    """One for a module. Meanwhile Playwright keeps an event loop on this thread, which Django must not mind."""
    with pytest.MonkeyPatch.context() as patch, open_chromium() as browser:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield browser


@pytest.fixture
def collection(transactional_db: None) -> Collection:
    return CollectionFactory(slug="demo", name="Demo", guidelines="Close the gripper around the cube.")


@pytest.fixture
def tasks(collection: Collection) -> list[FeedbackTask]:
    """Three steps of one episode with pictures, each with a task."""
    episode = EpisodeFactory(collection=collection)
    made = []
    for step in range(3):
        result = InferenceResultFactory(collection=collection, episode=episode, robot=episode.robot, step=step)
        for camera in collection.cameras:
            picture = io.BytesIO()
            Image.new("RGB", (96, 96), (40 * step, 120, 180)).save(picture, "JPEG")
            key = f"raw/2026-11-23/collection_demo/{result.request_id}/{camera}.jpg"
            object_store.put(key, picture.getvalue())
            result.images[camera] = key
        result.save()
        made.append(FeedbackTaskFactory(inference_result=result, priority=10.0 - step))
    return made


@pytest.fixture
def annotator(collection: Collection) -> User:
    return Member(collection=collection, role=Role.ANNOTATOR).user


@pytest.fixture
def reviewer(collection: Collection) -> User:
    return Member(collection=collection, role=Role.REVIEWER).user


SignIn = Callable[..., Page]


def session_cookie(user: User, url: str) -> Any:
    client = Client()
    client.force_login(user)
    return {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": url,
    }


@pytest.fixture(scope="module")
def profiles(chromium: Browser, live_server: Any) -> list[BrowserContext]:
    """Two people's browsers for the tests of a module: they keep the scripts and styles that every page wants."""
    return [_new_profile(chromium, live_server) for _ in range(2)]


def _new_profile(chromium: Browser, live_server: Any, **options: Any) -> BrowserContext:
    made = chromium.new_context(base_url=live_server.url, **({"reduced_motion": "reduce"} | options))
    made.set_default_timeout(10_000)
    return made


@pytest.fixture
def open_page(chromium: Browser, profiles: list[BrowserContext], live_server: Any) -> Iterator[SignIn]:
    """A page of somebody's own browser; a script error or a refused style or script fails the test."""
    unused = list(profiles)
    pages: list[Page] = []
    errors: list[str] = []

    def open_as(user: User, path: str = "/feedback/", **options: Any) -> Page:
        context = unused.pop(0) if unused and not options else _new_profile(chromium, live_server, **options)
        context.add_cookies([session_cookie(user, live_server.url)])
        page = context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
        page.goto(path)
        return page

    yield open_as
    for page in pages:
        if page.context in profiles:
            page.evaluate("localStorage.clear()")
            page.context.set_offline(True)  # a page that is left saves its draft
            page.close()
            page.context.set_offline(False)
            page.context.clear_cookies()
        else:
            page.context.close()
    assert errors == []
