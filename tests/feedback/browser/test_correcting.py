from __future__ import annotations

from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.utils.crypto import get_random_string
from playwright.sync_api import Page, expect

from accounts.models import User
from collections_app.models import Collection
from feedback import services
from feedback.choices import FeedbackType, TaskState
from feedback.models import Dispute, Draft, Feedback, FeedbackTask
from tests.factories import MembershipFactory
from tests.feedback.browser.conftest import SignIn, session_cookie
from tests.feedback.conftest import chunk

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


# Whatever can be pressed on the page and has no key, or a key that it does not show. Numbers are typed, plots have keys
# of their own (J, K and the arrows), the slider has those of its buttons; pictures and the way back are links.
ACTIONS_WITHOUT_A_KEY = """() => {
  const exempt = "td input, input[type=range], figure a, .crumbs a, dialog *, .menu-panel *";
  const all = document.querySelectorAll("main :is(button, summary, a, textarea, select, input:not([type=hidden]))");
  return [...all]
    .filter((element) => !element.matches(exempt) && (element.labels?.[0] ?? element).checkVisibility())
    .filter((element) => {
      const key = element.dataset.shortcut;
      const host = element.labels?.[0] ?? element;
      return !key || !(host.querySelector("kbd") || host.textContent.trim() === key);
    })
    .map((element) => element.outerHTML.slice(0, 120));
}"""


class Keys:
    """Presses keys and counts them."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def press(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)
            self.count += 1


def at(page: Page, task: FeedbackTask) -> None:
    page.wait_for_url(f"**/feedback/{task.pk}/")
    expect(page.locator(".plot")).to_have_count(7)


def number(page: Page, step: int, dimension: int) -> float:
    return float(page.locator(f"[name='a-{step}-{dimension}']").input_value())


def test_a_correction_by_keyboard_alone_takes_fewer_than_fifteen_presses(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(annotator)
    keys = Keys(page)
    keys.press("n")
    at(page, tasks[0])
    keys.press("k", "ArrowRight", "ArrowRight", "Shift+ArrowUp", "Shift+ArrowUp", "4", "Enter")
    at(page, tasks[1])
    assert keys.count < 15
    given = Feedback.objects.get()
    original = tasks[0].inference_result.output_actions
    expected = [list(row) for row in original]
    expected[2][6] = 0.7
    assert [row[6] for row in given.human_correction] == pytest.approx([row[6] for row in expected])
    assert [row[:6] for row in given.human_correction] == [row[:6] for row in original]
    assert (given.verdict, given.rating, given.annotator) == ("correct", 4, annotator)
    assert given.seconds_spent is not None
    assert given.seconds_spent < 60


def test_accepting_takes_two_presses(open_page: SignIn, annotator: User, tasks: list[FeedbackTask]) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    at(page, tasks[1])
    assert Feedback.objects.get().preferred == "model"


def test_a_point_is_dragged_undone_and_redone(open_page: SignIn, annotator: User, tasks: list[FeedbackTask]) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    handle = page.locator(".plot").nth(1).locator(".handle").nth(4)
    box = handle.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 20, steps=5)
    page.mouse.up()
    dragged = number(page, 4, 1)
    assert 0.1 < dragged <= 0.5
    assert number(page, 3, 1) == number(page, 5, 1) == 0.0
    expect(page.locator("input[name='verdict'][value='correct']")).to_be_checked()
    page.keyboard.press("z")
    assert number(page, 4, 1) == 0.0
    expect(page.locator("input[name='verdict'][value='correct']")).not_to_be_checked()
    page.keyboard.press("y")
    assert number(page, 4, 1) == dragged


def test_a_typed_number_beyond_its_limit_is_named_before_it_is_sent(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    page.keyboard.press("e")
    expect(page.locator("[name='a-0-0']")).to_be_focused()
    page.locator("[name='a-3-2']").fill("0.9")
    page.locator("[name='a-3-2']").press("Tab")
    expect(page.locator("[data-violations]")).to_contain_text("z 4")
    page.get_by_role("button", name="Submit, next").click()
    expect(page.locator("#a-3-2-error")).to_have_text("z goes above its limit of 0.6 m.")
    assert number(page, 3, 2) == 0.9
    assert not Feedback.objects.exists()


def test_two_browsers_on_one_queue_never_get_one_task(
    open_page: SignIn, annotator: User, reviewer: User, tasks: list[FeedbackTask]
) -> None:
    first, second = open_page(annotator), open_page(reviewer)
    first.keyboard.press("n")
    at(first, tasks[0])
    second.keyboard.press("n")
    at(second, tasks[1])
    other = open_page(reviewer, f"/feedback/{tasks[0].pk}/")
    expect(other.get_by_text(f"{annotator} is working on it")).to_be_visible()
    expect(other.get_by_role("button", name="Submit, next")).to_be_disabled()


def test_a_session_that_ends_loses_nothing_that_was_entered(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask], live_server: Any
) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    page.keyboard.press("4")
    expect(page.locator("[data-draft-status]")).to_contain_text("Draft saved")
    Session.objects.all().delete()
    cache.clear()
    page.locator("#comment").fill("Written after the session had ended.")
    expect(page.locator("[data-signed-out]")).to_be_visible()
    assert "comment" in Draft.objects.get().content
    assert Draft.objects.get().content["comment"] == ""
    page.reload()
    page.wait_for_url("**/login/**")
    page.context.add_cookies([session_cookie(annotator, live_server.url)])
    page.goto(f"/feedback/{tasks[0].pk}/")
    at(page, tasks[0])
    expect(page.locator("#comment")).to_have_value("Written after the session had ended.")
    expect(page.locator("input[name='rating'][value='4']")).to_be_checked()
    expect(page.locator("[data-draft-status]")).to_contain_text("Draft saved")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    at(page, tasks[1])
    assert Feedback.objects.get().comment == "Written after the session had ended."


def test_signing_in_again_in_another_tab_is_enough_to_go_on(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask], live_server: Any
) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    Session.objects.all().delete()
    cache.clear()
    page.keyboard.press("5")
    expect(page.locator("[data-signed-out]")).to_be_visible()
    renewed = {"name": "csrftoken", "value": get_random_string(32), "url": live_server.url}
    page.context.add_cookies([session_cookie(annotator, live_server.url), renewed])
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.locator("[data-signed-out]")).to_be_hidden()
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    at(page, tasks[1])
    assert Feedback.objects.get().rating == 5


def test_a_draft_follows_its_author_to_another_browser(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    page.keyboard.press("j")
    page.keyboard.press("ArrowUp")
    expect(page.locator("[data-draft-status]")).to_contain_text("Draft saved")
    moved = number(page, 0, 0)
    elsewhere = open_page(annotator)
    elsewhere.keyboard.press("n")
    at(elsewhere, tasks[0])
    assert number(elsewhere, 0, 0) == moved
    expect(elsewhere.locator("input[name='verdict'][value='correct']")).to_be_checked()


def test_without_javascript_a_chunk_is_corrected_all_the_same(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(annotator, java_script_enabled=False)
    page.get_by_role("button", name="Next task").click()
    page.wait_for_url(f"**/feedback/{tasks[0].pk}/")
    page.locator("[name='a-3-2']").fill("0.25")
    page.get_by_role("radio", name="Correct").check()
    page.get_by_label("Comment").fill("By hand.")
    page.get_by_role("button", name="Submit, next").click()
    page.wait_for_url(f"**/feedback/{tasks[1].pk}/")
    given = Feedback.objects.get()
    assert given.human_correction[3][2] == 0.25
    assert given.comment == "By hand."


def test_the_episode_is_scrubbed_and_played(open_page: SignIn, annotator: User, tasks: list[FeedbackTask]) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    image = page.locator("img[data-camera='base']")
    first = image.get_attribute("src")
    expect(page.locator("[data-frame-label]")).to_have_text("step 0")
    page.keyboard.press(".")
    expect(page.locator("[data-frame-label]")).to_have_text("step 1 (+1)")
    assert image.get_attribute("src") != first
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 96
    page.keyboard.press(",")
    page.keyboard.press("p")
    expect(page.locator("[data-frame-label]")).to_have_text("step 2 (+2)")
    expect(page.locator("[data-action='play']")).to_have_attribute("aria-pressed", "false")


def test_every_shortcut_is_listed_under_the_question_mark(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for text in (
        "Verdict: Accept",
        "Rating: 5",
        "How sure are you? 75 %",
        "Undo",
        "Skip",
        "Submit, next",
        "Guidelines",
    ):
        expect(dialog.get_by_text(text, exact=True)).to_be_visible()
    dialog.get_by_label("Single keys are shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.locator("input[name='verdict'][value='accept']")).not_to_be_checked()


def test_every_action_has_a_key_that_is_printed_on_it_and_listed(
    open_page: SignIn, annotator: User, reviewer: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(reviewer)
    page.keyboard.press("n")
    at(page, tasks[0])
    without = page.evaluate(ACTIONS_WITHOUT_A_KEY)
    assert without == []
    page.keyboard.press("?")
    listed = page.locator("dialog [data-shortcut-list] > dt > kbd").all_inner_texts()
    printed = page.locator("main kbd:visible").all_inner_texts()
    assert set(printed) <= set(listed)
    keys = page.locator("[data-shortcut]").evaluate_all("each => each.map((element) => element.dataset.shortcut)")
    assert len(keys) == len(set(keys)), "no key means two things"


def test_skipping_by_keyboard_leads_to_the_next_task(
    open_page: SignIn, annotator: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    for key in ("x", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    at(page, tasks[1])
    tasks[0].refresh_from_db()
    assert (tasks[0].state, tasks[0].skips.get().reason) == (TaskState.OPEN, "instruction")


def test_a_reviewer_fixes_an_answer_by_keyboard(
    open_page: SignIn, annotator: User, reviewer: User, tasks: list[FeedbackTask]
) -> None:
    page = open_page(annotator)
    page.keyboard.press("n")
    at(page, tasks[0])
    page.keyboard.press("j")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    at(page, tasks[1])
    review = open_page(reviewer, "/feedback/review/")
    review.keyboard.press("n")
    expect(review.locator(".plot")).to_have_count(7)
    for key in ("j", "ArrowUp"):
        review.keyboard.press(key)
    expect(review.locator("input[name='verdict'][value='fixed']")).to_be_checked()
    review.keyboard.press("Enter")
    expect(review.get_by_text("Everything is reviewed")).to_be_visible()
    given = Feedback.objects.get()
    assert given.review_state == "fixed"
    assert given.reviews.get().fixed_actions[0][0] == pytest.approx(given.human_correction[0][0] + 0.02)


def test_an_answer_is_chosen_by_its_number_and_changing_its_chunk_makes_it_ones_own(
    open_page: SignIn, collection: Collection, annotator: User, reviewer: User, tasks: list[FeedbackTask]
) -> None:
    result = tasks[0].inference_result
    for person, value in ((annotator, 0.1), (MembershipFactory(collection=collection, role="annotator").user, 0.4)):
        services.give_feedback(
            principal=person, result=result, feedback_type=FeedbackType.CORRECTION, actions=chunk(value)
        )
    page = open_page(reviewer, "/feedback/review/")
    page.keyboard.press("d")
    expect(page.locator(".plot")).to_have_count(7)
    page.keyboard.press("2")
    assert number(page, 3, 0) == 0.4
    assert page.locator("[name='choice']:checked").get_attribute("value") != "own"
    page.keyboard.press("j")
    page.keyboard.press("Shift+ArrowDown")
    assert page.locator("[name='choice']:checked").get_attribute("value") == "own"
    page.keyboard.press("Enter")
    expect(page.get_by_text("Disputed: say what stands")).to_have_count(0)
    settled = Dispute.objects.get()
    assert (settled.settled_by, settled.chosen.annotator) == (reviewer, reviewer)
    assert [row[0] for row in settled.chosen.human_correction] == pytest.approx([0.3, *[0.4] * 7])
