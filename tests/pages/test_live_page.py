"""The live page in a real browser, with a socket that the test holds the other end of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

from accounts.choices import Role
from accounts.models import User
from collections_app.models import Collection
from feedback.models import FeedbackTask
from inference.fleet import live_message
from inference.models import InferenceResult
from tests.factories import InferenceResultFactory, MembershipFactory
from tests.pages.conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


class Socket:
    """The server's end of the page's sockets; the newest is the one that counts."""

    def __init__(self) -> None:
        self.routes: list[WebSocketRoute] = []
        self.told: list[dict[str, Any]] = []

    def intercept(self, page: Page) -> None:
        page.route_web_socket("**/ws/inference**", self._accept)

    def _accept(self, route: WebSocketRoute) -> None:
        self.routes.append(route)
        route.on_message(lambda message: self.told.append(json.loads(message)))
        self.send({"type": "hello"})

    def send(self, message: dict[str, Any]) -> None:
        self.routes[-1].send(json.dumps(message))


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def recorded(transactional_db: None) -> InferenceResult:
    result = InferenceResultFactory(robot__name="arm-01", instruction="lift the red cube")
    robot = result.robot
    assert robot is not None
    robot.last_seen_at = result.created_at
    robot.save()
    return result


@pytest.fixture
def collection(recorded: InferenceResult) -> Collection:
    return recorded.collection


@pytest.fixture
def annotator(collection: Collection) -> User:
    return MembershipFactory(collection=collection, role=Role.ANNOTATOR).user


@pytest.fixture
def live(visit: Visit, socket: Socket, collection: Collection, annotator: User) -> Page:
    opened = visit(f"/live/{collection.slug}/", annotator, prepare=socket.intercept)
    expect(opened.locator("#connection")).to_have_text("Live")
    return opened


def card(page: Page, robot: str = "arm-01") -> Locator:
    return page.locator(f"article[data-robot='{robot}']")


def message(recorded: InferenceResult, **changes: Any) -> dict[str, Any]:
    return {**live_message(recorded), **changes}


def test_the_newest_results_are_there_before_any_message(live: Page) -> None:
    expect(card(live)).to_contain_text("lift the red cube")
    expect(card(live)).to_contain_text("Passed")


def test_a_result_changes_its_robots_card(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    safety = {"score": 0.5, "verdict": "clamped", "violations": []}
    socket.send(message(recorded, step=7, safety=safety, instruction="now the blue one"))
    expect(card(live)).to_contain_text("Clamped")
    expect(card(live)).to_contain_text("now the blue one")
    expect(card(live)).to_contain_text("step 7")


def test_what_robots_send_is_text_and_never_markup(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    payload = "<img src=x onerror=document.title='taken'>"
    model = {"name": payload, "version": payload}
    socket.send(message(recorded, instruction=payload, model=model, episode=payload))
    expect(card(live)).to_contain_text(payload)
    socket.send(message(recorded, robot="arm-<b>2</b>", instruction=payload))
    expect(live.locator("article.robot h2", has_text="arm-<b>2</b>")).to_have_count(1)
    expect(live.locator("article.robot [onerror], article.robot h2 b")).to_have_count(0)
    assert live.title() != "taken"


def test_a_new_robot_gets_a_card_in_the_order_of_names(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    for name in ("arm-10", "arm-02"):
        socket.send(message(recorded, robot=name))
    expect(live.locator("article.robot h2")).to_have_text(["arm-01", "arm-02", "arm-10"])


def test_a_rejected_chunk_says_that_nothing_was_sent(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    safety = {"score": 0.0, "verdict": "rejected", "violations": []}
    socket.send(message(recorded, actions=[], safety=safety))
    expect(card(live)).to_contain_text("Rejected")
    label = "Actions of arm-01: nothing was sent"
    expect(card(live).locator("canvas")).to_have_attribute("aria-label", label)


def test_every_result_is_acknowledged(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    for step in range(20):
        socket.send(message(recorded, step=step))
    expect(card(live)).to_contain_text("step 19")
    for _ in range(50):
        if sum(told["n"] for told in socket.told) >= 20:
            break
        live.wait_for_timeout(20)
    assert [told["type"] for told in socket.told] == ["ack"] * len(socket.told)
    assert sum(told["n"] for told in socket.told) == 20


def test_a_lost_connection_is_said_and_mended(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    socket.routes[-1].close(code=1012)
    expect(live.locator("#banner")).to_contain_text("The connection is lost")
    expect(live.locator("#connection")).to_have_text("Live")
    expect(live.locator("#banner")).to_be_hidden()
    assert len(socket.routes) == 2
    socket.send(message(recorded, instruction="after the break"))
    expect(card(live)).to_contain_text("after the break")


def test_one_who_may_no_longer_watch_is_told_so_and_does_not_knock_again(live: Page, socket: Socket) -> None:
    socket.routes[-1].close(code=4403)
    expect(live.locator("#banner")).to_contain_text("You may no longer watch this collection.")
    live.wait_for_timeout(1000)
    assert len(socket.routes) == 1


def test_pause_holds_the_picture_and_counts_what_it_misses(
    live: Page, socket: Socket, recorded: InferenceResult
) -> None:
    live.keyboard.press(" ")
    socket.send(message(recorded, instruction="unseen"))
    expect(live.locator("#connection")).to_have_text("Paused, 1 new")
    expect(card(live)).to_contain_text("lift the red cube")
    live.get_by_role("button", name="Go on").click()
    socket.send(message(recorded, instruction="seen"))
    expect(card(live)).to_contain_text("seen")


def test_one_robot_in_full_has_an_address_and_escape_leads_back(live: Page, socket: Socket) -> None:
    card(live).get_by_role("button", name="arm-01 in full").press("Enter")
    expect(live.locator("#focus")).to_contain_text("Every step is inside the action space's limits.")
    assert live.url.endswith("#robot=arm-01")
    live.reload()
    expect(live.locator("#focus h2")).to_have_text("arm-01")
    live.keyboard.press("Escape")
    expect(live.locator("#focus")).to_be_hidden()
    expect(card(live).get_by_role("button", name="arm-01 in full")).to_be_focused()


def test_violations_name_step_dimension_and_limit(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    violation = {"step": 3, "dimension": "gripper", "rule": "position", "value": 1.4, "limit": 1.0}
    safety = {"score": 0.4, "verdict": "clamped", "violations": [violation]}
    card(live).get_by_role("button", name="arm-01 in full").click()
    socket.send(message(recorded, safety=safety))
    expect(live.locator("#focus .violations")).to_have_text("Step 3, gripper: position 1.40 (limit 1.00)")


def test_a_marker_outlives_the_page_and_leads_to_the_replay(live: Page, recorded: InferenceResult) -> None:
    card(live).get_by_role("button", name="arm-01 in full").focus()
    live.keyboard.press("m")
    expect(live.locator("#markers-count")).to_have_text("1")
    live.reload()
    live.get_by_text("Markers").click()
    live.locator("#markers a").click()
    live.wait_for_url(f"**/episodes/{recorded.episode_id}/?at={recorded.request_id}")


def test_a_flag_makes_a_task_for_the_annotators(live: Page, recorded: InferenceResult) -> None:
    card(live).get_by_role("button", name="Flag for review").click()
    expect(live.locator("#toasts")).to_contain_text("arm-01 is in the review queue.")
    assert FeedbackTask.objects.get(inference_result=recorded).reason == "flagged"


def test_a_viewer_is_offered_no_flag(visit: Visit, socket: Socket, collection: Collection) -> None:
    viewer = MembershipFactory(collection=collection, role=Role.VIEWER).user
    opened = visit(f"/live/{collection.slug}/", viewer, prepare=socket.intercept)
    expect(card(opened)).to_be_visible()
    expect(card(opened).get_by_role("button", name="Flag for review")).to_be_hidden()


def test_text_of_a_robot_stays_text(live: Page, socket: Socket, recorded: InferenceResult) -> None:
    attack = "<img src=x onerror=alert(1)>"
    socket.send(message(recorded, instruction=attack))
    expect(card(live).locator("[data-instruction]")).to_have_text(attack)


def test_a_place_without_robots_says_how_to_start_one(visit: Visit, socket: Socket) -> None:
    membership = MembershipFactory()
    opened = visit(f"/live/{membership.collection.slug}/", membership.user, prepare=socket.intercept)
    expect(opened.locator("#nobody")).to_contain_text("manage.py demo_robot")
