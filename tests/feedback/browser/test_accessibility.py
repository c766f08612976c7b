from __future__ import annotations

import pytest
from playwright.sync_api import Page

from accounts.models import User
from feedback import services
from feedback.choices import FeedbackType, TaskVerdict
from feedback.models import Dispute, FeedbackTask
from tests import axe
from tests.factories import InferenceResultFactory, UserFactory
from tests.feedback.browser.conftest import SignIn
from tests.feedback.conftest import chunk

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


# Each theme once and each width once. A page is loaded anew for each: one that changes its dress is between two looks
# for as long as a busy machine takes to draw it.
LOOKS = ((1440, "light"), (390, "dark"))
# The page is drawn, and whatever moved towards it has arrived.
SETTLED = """
  new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))
    .then(() => Promise.allSettled(document.getAnimations().map((animation) => animation.finished)))
"""
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def test_axe_finds_no_serious_fault_and_nothing_scrolls_sideways(
    open_page: SignIn, annotator: User, reviewer: User, tasks: list[FeedbackTask]
) -> None:
    answer = services.submit_task(
        task_id=tasks[0].pk, annotator=annotator, verdict=TaskVerdict.CORRECT, actions=chunk(0.1)
    )
    disputed = InferenceResultFactory(collection=tasks[0].collection)
    for person, verdict in ((annotator, TaskVerdict.ACCEPT), (UserFactory(), TaskVerdict.REJECT)):
        services.give_feedback(principal=person, result=disputed, feedback_type=FeedbackType.FAILURE, verdict=verdict)
    dispute = Dispute.objects.get()
    held = services.claim_next_task(annotator=annotator)
    assert held is not None
    paths = {
        annotator: ["/feedback/", f"/feedback/{held.pk}/"],
        reviewer: [
            f"/feedback/{tasks[2].pk}/",
            "/feedback/review/",
            f"/feedback/review/{answer.pk}/",
            dispute.get_absolute_url(),
            f"/feedback/similar/{disputed.request_id}/",
            "/feedback/agreement/demo/",
        ],
    }
    for user, mine in paths.items():
        page = open_page(user, mine[0])
        for path in mine:
            for width, theme in LOOKS:
                page.set_viewport_size({"width": width, "height": 900})
                page.emulate_media(color_scheme=theme)
                page.goto(path)
                page.evaluate(SETTLED)
                assert serious_faults(page) == [], f"{path} at {width}, {theme}"
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} at {width}"


def serious_faults(page: Page) -> list[tuple[str, list[str]]]:
    return [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]][:5])
        for fault in axe.violations(page, runOnly=STANDARDS)
        if fault["impact"] in ("serious", "critical")
    ]
