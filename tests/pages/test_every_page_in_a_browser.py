"""Every page, wide and light, narrow and dark: axe finds nothing, nothing overflows, the policy blocks nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.utils import timezone
from playwright.sync_api import Page

from accounts.models import User
from inference.models import InferenceResult
from pipeline.models import Export, PipelineRun, StageRun, StoredObject
from tests.factories import (
    DeploymentFactory,
    FeedbackFactory,
    FeedbackTaskFactory,
    InferenceResultFactory,
    MembershipFactory,
    UserFactory,
)
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
    "admin": "/admin/",
    "admin list": "/admin/inference/inferenceresult/",
    "admin form": "/admin/inference/deployment/add/",
}
# Django's own templates: their markup is not ours to change.
DJANGOS = {"admin", "admin list", "admin form"}


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


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", NARROW)], ids=["light-1440", "dark-390"])
def test_every_page_is_accessible_and_fits(
    visit: Visit, superuser: User, result: InferenceResult, theme: str, size: Any
) -> None:
    faults: dict[str, Any] = {}
    page = visit("/", superuser, size=size, theme=theme, prepare=silence)
    for name, path in PAGES.items():
        page.goto(path.format(slug=result.collection.slug, episode=result.episode_id))
        if name not in DJANGOS:
            found = Axe().run(page).response["violations"]
            if found:
                faults[name] = [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found]
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            faults[f"{name} is too wide"] = True
    assert faults == {}
