"""Every page, wide and light, narrow and dark: axe finds nothing, nothing overflows, the policy blocks nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, Route

from accounts.models import ApiKey, User
from core.problems import forbidden
from inference.models import Deployment, InferenceResult
from pipeline.models import Export, PipelineRun, StageRun, StoredObject
from tests import axe
from tests.factories import (
    DeploymentFactory,
    FeedbackFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    UserFactory,
)
from tests.pages.admin_rows import MAKERS
from tests.pages.conftest import NARROW, WIDE, Visit

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGES = {
    "home": "/",
    "collections": "/collections/",
    "overview": "/collections/{slug}/",
    "results": "/collections/{slug}/results/",
    "episodes": "/collections/{slug}/episodes/",
    "runs": "/collections/{slug}/runs/",
    "exports": "/collections/{slug}/exports/",
    "compare": "/collections/{slug}/compare/",
    "retention": "/collections/{slug}/retention/",
    "members": "/collections/{slug}/members/",
    "live": "/live/{slug}/",
    "robot": "/live/{slug}/#robot=arm-01",
    "episode": "/episodes/{episode}/",
    "map": "/collections/{slug}/map/",
    "search": "/search/?q=cube",
    "feedback": "/feedback/",
    "review": "/feedback/review/",
    "account": "/account/",
    "password": "/account/password/",
    "admin": "/admin/",
    "admin app": "/admin/inference/",
    "admin password": "/admin/accounts/user/{user}/password/",
    "admin history": "/admin/collections_app/collection/{collection}/history/",
    "admin delete": "/admin/inference/deployment/{deployment}/delete/",
    "API": "/api/v1/docs",
    "400": "/collections/{slug}/results/?before=x",
    "404": "/nothing/",
}
FOR_NOBODY = {"log in": "/login/", "404 for nobody": "/nothing/", "API for nobody": "/api/v1/docs"}
# Swagger UI's headings, landmarks and buttons are not ours to change.
SWAGGERS = {
    "heading-order",
    "landmark-main-is-top-level",
    "landmark-no-duplicate-main",
    "landmark-unique",
    "nested-interactive",
}


@pytest.fixture
def result(transactional_db: None) -> InferenceResult:
    """A collection with something on every page."""
    result = InferenceResultFactory(robot__name="arm-01", robot__last_seen_at=timezone.now())
    collection = result.collection
    DeploymentFactory(collection=collection, policy_version=result.policy_version)
    InferenceResultFactory(collection=collection, robot=result.robot, safety_verdict="rejected", output_actions=[])
    FeedbackTaskFactory(inference_result=result)
    FeedbackFactory(inference_result=result, feedback_type="correction", human_correction=result.output_actions)
    now = timezone.now()
    window = {"window_start": now - timedelta(hours=1), "window_end": now}
    run = PipelineRun.objects.create(collection=collection, state="running", progress=0.4, **window)
    StageRun.objects.create(run=run, stage="validate", state="succeeded")
    PipelineRun.objects.create(collection=collection, state="failed", error="disk full", **window)
    export = Export.objects.create(collection=collection, format="csv", state="succeeded", records=3)
    StoredObject.objects.create(
        key=f"exports/export_{export.pk}/data.csv", kind="export", export=export, bytes=10, sha256="0" * 64
    )
    return result


@pytest.fixture
def superuser(result: InferenceResult) -> User:
    user = UserFactory(is_staff=True, is_superuser=True)
    MembershipFactory(collection=result.collection, user=user)
    return user


def silence(page: Page) -> None:
    page.route_web_socket("**/ws/inference**", lambda route: route.send('{"type": "hello"}'))


@contextmanager
def one_operation_of_each_method(page: Page) -> Iterator[None]:
    """Meanwhile the API describes itself in short: Swagger UI draws sixty operations that look like these."""

    def shorten(route: Route) -> None:
        answer, seen = route.fetch(), set[str]()
        schema = answer.json()
        paths, schema["paths"] = schema["paths"], {}
        for path, operations in paths.items():
            new = {method: operation for method, operation in operations.items() if method not in seen}
            if new:
                schema["paths"][path] = new
                seen |= new.keys()
        route.fulfill(response=answer, json=schema)

    page.route("**/api/v1/schema*", shorten)
    yield
    page.unroute("**/api/v1/schema*")


def faults_of(page: Page, paths: dict[str, str]) -> dict[str, Any]:
    """What is wrong with the pages at ``paths``, by the name of the page."""
    faults: dict[str, Any] = {}
    for name, path in paths.items():
        if path == PAGES["API"]:
            with one_operation_of_each_method(page):
                page.goto(path)
                page.locator(".opblock").first.wait_for()
        else:
            page.goto(path)
        found = axe.violations(page)
        if name.startswith("API"):
            found = [fault for fault in found if fault["id"] not in SWAGGERS]
        if found:
            faults[name] = [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found]
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            faults[f"{name} is too wide"] = True
    return faults


LOOKS = pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", NARROW)], ids=["light-1440", "dark-390"])


@LOOKS
def test_every_page_is_accessible_and_fits(
    visit: Visit, superuser: User, result: InferenceResult, theme: str, size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "slug": result.collection.slug,
        "collection": result.collection_id,
        "episode": result.episode_id,
        "user": superuser.pk,
        "deployment": Deployment.objects.get().pk,
    }
    page = visit("/", superuser, size=size, theme=theme, prepare=silence)
    faults = faults_of(page, {name: path.format(**told) for name, path in PAGES.items()})
    for status, error in {403: forbidden(), 500: RuntimeError()}.items():
        monkeypatch.setattr("vla_project.pages.views.attention_of", Mock(side_effect=error))
        response = page.goto("/")
        assert response is not None
        assert response.status == status
        faults |= faults_of(page, {str(status): "/"})
    faults |= faults_of(visit("/login/", None, size=size, theme=theme), FOR_NOBODY)
    assert not faults, json.dumps(faults, indent=1)


@pytest.mark.parametrize(
    ("kind", "theme", "size"), [("changelist", "light", NARROW), ("change", "dark", NARROW)], ids=["lists", "forms"]
)
def test_every_list_and_form_of_the_admin_is_accessible_and_fits(
    visit: Visit, superuser: User, kind: str, theme: str, size: Any
) -> None:
    paths = {}
    for model, make in MAKERS.items():
        row, name = make(), f"admin:{model._meta.app_label}_{model._meta.model_name}"
        paths[model.__name__] = reverse(f"{name}_{kind}", args=[row.pk] if kind == "change" else [])
        if kind == "change" and model in (ApiKey, Deployment):  # a new one's form has pickers of dates and rows
            paths[f"new {model.__name__}"] = reverse(f"{name}_add")
    faults = faults_of(visit("/admin/", superuser, size=size, theme=theme), paths)
    assert not faults, json.dumps(faults, indent=1)
