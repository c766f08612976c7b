"""The replay and the overview's plots in a real browser."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.choices import Role
from collections_app.models import Collection
from feedback.models import FeedbackTask
from inference.models import InferenceResult
from tests.factories import EpisodeFactory, InferenceResultFactory, MembershipFactory
from tests.pages.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def results(transactional_db: None) -> list[InferenceResult]:
    """Six steps, the fifth of which was clamped."""
    episode, start = EpisodeFactory(), timezone.now()
    return [
        InferenceResultFactory(
            collection=episode.collection,
            robot=episode.robot,
            episode=episode,
            step=step,
            safety_verdict="clamped" if step == 4 else "pass",
            created_at=start + timedelta(milliseconds=250 * step),
        )
        for step in range(6)
    ]


@pytest.fixture
def collection(results: list[InferenceResult]) -> Collection:
    return results[0].collection


@pytest.fixture
def replay(visit: Visit, results: list[InferenceResult], collection: Collection) -> Page:
    member = MembershipFactory(collection=collection, role=Role.ANNOTATOR).user
    opened = visit(f"/episodes/{results[0].episode_id}/?at={results[1].request_id}", member)
    expect(opened.locator("#replay")).to_be_visible()
    return opened


def test_it_starts_where_the_link_says(replay: Page) -> None:
    expect(replay.locator("#position")).to_have_text("2 / 6")


def test_arrows_home_and_end_move_and_stop_at_the_ends(replay: Page) -> None:
    replay.keyboard.press("ArrowRight")
    expect(replay.locator("#position")).to_have_text("3 / 6")
    replay.keyboard.press("End")
    replay.keyboard.press("ArrowRight")
    expect(replay.locator("#position")).to_have_text("6 / 6")
    replay.keyboard.press("Home")
    replay.keyboard.press("ArrowLeft")
    expect(replay.locator("#position")).to_have_text("1 / 6")


def test_n_leads_to_the_next_issue(replay: Page) -> None:
    replay.keyboard.press("n")
    expect(replay.locator("#position")).to_have_text("5 / 6")
    expect(replay.locator("#verdict")).to_have_text("Clamped")


def test_c_leads_to_the_task_about_the_result_that_is_shown(replay: Page, results: list[InferenceResult]) -> None:
    replay.keyboard.press("ArrowRight")
    replay.keyboard.press("c")
    replay.wait_for_url("**/feedback/*/")
    task = FeedbackTask.objects.get()
    assert (task.inference_result, task.reason) == (results[2], "flagged")
    expect(replay.get_by_role("button", name="Take this task")).to_be_visible()


def test_a_reviewer_asks_about_moments_like_the_one_that_is_shown(
    visit: Visit, replay: Page, results: list[InferenceResult], collection: Collection
) -> None:
    expect(replay.get_by_role("link", name="Ask about moments like this")).to_have_count(0)
    reviewer = MembershipFactory(collection=collection, role=Role.REVIEWER).user
    page = visit(f"/episodes/{results[0].episode_id}/?at={results[1].request_id}", reviewer)
    page.keyboard.press("ArrowRight")
    link = page.get_by_role("link", name="Ask about moments like this")
    expect(link).to_have_attribute("href", f"/feedback/similar/{results[2].request_id}/")


def test_it_plays_to_the_end_and_stops(replay: Page) -> None:
    replay.get_by_role("button", name="Play").click()
    expect(replay.locator("#position")).to_have_text("6 / 6")
    expect(replay.get_by_role("button", name="Play")).to_be_visible()


def test_a_click_into_the_plot_goes_there(replay: Page) -> None:
    plot = replay.locator("#plot")
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": box["width"] - 30, "y": 40})
    expect(replay.locator("#position")).to_have_text("6 / 6")


def test_every_result_is_also_in_a_table(replay: Page, results: list[InferenceResult]) -> None:
    rows = replay.locator(".replay-table tbody tr")
    expect(rows).to_have_count(len(results))
    expect(rows.nth(4)).to_contain_text("Clamped")


def test_the_overviews_plots_draw_what_their_tables_say(visit: Visit, collection: Collection) -> None:
    member = MembershipFactory(collection=collection).user
    overview = visit(f"/collections/{collection.slug}/", member)
    figure = overview.locator("figure.chart").first
    expect(figure.locator("svg rect[data-series=passed]")).to_have_count(1)
    expect(figure.locator("svg rect[data-series=clamped]")).to_have_count(1)
    figure.locator(".chart-hover").last.hover()
    expect(figure.locator(".chart-tip")).to_have_text(re.compile("Passed5Clamped1Rejected0"))


def test_the_theme_is_kept_and_the_first_byte_has_it(visit: Visit, collection: Collection) -> None:
    home = visit("/", MembershipFactory(collection=collection).user)
    expect(home.locator("html")).not_to_have_attribute("data-theme", re.compile("."))
    home.get_by_role("button", name="Change between light and dark").click()
    answer = home.reload()
    assert answer is not None
    assert 'data-theme="dark"' in answer.text()
    assert home.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 16, 18)"


def test_times_are_local_and_keep_utc_in_their_title(visit: Visit, results: list[InferenceResult]) -> None:
    result = results[0]
    member = MembershipFactory(collection=result.collection).user
    page = visit(f"/collections/{result.collection.slug}/results/", member)
    time = page.locator("time[data-time=relative]").last
    expect(time).to_have_text(re.compile("sec|now|min"))
    expect(time).to_have_attribute("title", f"{result.created_at:%Y-%m-%d %H:%M:%S} UTC")


def test_two_policy_versions_stand_side_by_side(visit: Visit, results: list[InferenceResult]) -> None:
    for result in results:
        InferenceResultFactory(
            collection=result.collection,
            robot=result.robot,
            episode=result.episode,
            request_id=result.request_id,
            created_at=result.created_at,
            shadow=True,
            model_name="next",
            output_actions=[[0.9, *step[1:]] for step in result.output_actions],
        )
    member = MembershipFactory(collection=results[0].collection).user
    page = visit(f"/episodes/{results[0].episode_id}/", member)
    page.get_by_label("Compare with").select_option("next@1")
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#version")).to_have_text(f"{results[0].model_name}@1")
    expect(page.locator("#other-version")).to_have_text("next@1")
    drawn = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    assert page.locator("#other-plot").evaluate(drawn)
    tops = [page.locator(plot).bounding_box()["y"] for plot in ("#plot", "#other-plot")]  # type: ignore[index]
    assert tops[0] == tops[1]
    page.get_by_role("button", name="Side by side").click()
    expect(page.locator("#other")).to_be_hidden()
