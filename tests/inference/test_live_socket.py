"""``/ws/inference``: who may watch, what he sees, and what becomes of a viewer who is slow."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from django.utils import timezone

from accounts import tokens
from accounts.choices import Role
from accounts.models import ApiKey, User
from accounts.services import revoke_api_key
from collections_app.models import Collection
from collections_app.services import remove_membership
from core.redis import engine_redis
from inference import consumers, live, live_hub
from inference.engine import keys
from inference.engine.gateway import gateway
from inference.engine.worker import InferenceWorker
from inference.live_hub import CREDIT, MESSAGES_PER_SECOND, STALLED_SECONDS, Board, Mailbox, Pace
from inference.models import InferenceResult
from inference.viewer_rights import confirmed
from tests.factories import (
    ApiKeyFactory,
    CollectionFactory,
    InferenceResultFactory,
    MembershipFactory,
    RobotFactory,
    UserFactory,
)
from tests.inference.conftest import observation
from tests.inference.sockets import Socket
from tests.inference.waiting import come_true, wait_until

Watch = Callable[..., Socket]


@pytest.fixture
def viewer(collection: Collection) -> User:
    return MembershipFactory(collection=collection, role=Role.VIEWER).user


@pytest.fixture
async def watch(collection: Collection) -> AsyncIterator[Watch]:
    """Makes sockets to the live events of the collection, or of another, and closes them."""
    made: list[Socket] = []

    def socket(slug: str | None = None, *, resume: str = "", **how: Any) -> Socket:
        made.append(Socket(f"/ws/inference?collection={slug or collection.slug}&resume={resume}", **how))
        return made[-1]

    yield socket
    for one in made:
        await one.disconnect()
    await gateway().close()


@sync_to_async
def session_of(user: User) -> str:
    browser = Client()
    browser.force_login(user)
    return f"sessionid={browser.cookies['sessionid'].value}"


@sync_to_async
def subscribed(collection: Collection) -> None:
    """Returns when some process listens to the collection's events."""
    channel = keys.live(collection.pk)
    wait_until(lambda: engine_redis().pubsub_numsub(channel)[0][1])


def publish(collection: Collection, **message: Any) -> None:
    engine_redis().publish(keys.live(collection.pk), orjson.dumps(message))


def told(step: int, robot: str = "arm-01") -> dict[str, Any]:
    return {"type": "result", "request_id": str(uuid.UUID(int=step)), "robot": robot, "step": step}


async def next_message(socket: Socket, kind: str) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await socket.receive_text())
    assert message["type"] == kind, message
    return message


# --- what a viewer sees ---


async def test_a_viewer_sees_what_robots_are_answered_with_their_pictures(
    watch: Watch, viewer: User, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    cookie = await session_of(viewer)
    socket = watch(cookie=cookie, origin="http://testserver")
    await socket.open()
    hello = await next_message(socket, "hello")
    assert (hello["collection"], hello["cameras"], hello["horizon"]) == (collection.slug, collection.cameras, 8)
    assert [dimension["name"] for dimension in hello["dimensions"]][-1] == "gripper"
    await subscribed(collection)

    answers: dict[str, dict[str, Any]] = {}
    while await socket.receive_nothing(timeout=0.1):  # a worker looks for viewers a few times a second
        answer = (await robot.post("/api/v1/inference", json=observation(collection))).json()
        answers[answer["request_id"]] = answer
    result = await next_message(socket, "result")
    answer = answers[result["request_id"]]
    for part in ("actions", "safety", "model", "timing"):
        assert result[part] == answer[part]
    assert (result["robot"], result["episode"], result["step"]) == ("arm-07", "e1", 3)
    assert sorted(result["thumbnails"]) == sorted(collection.cameras)

    headers = {"Authorization": "", "Cookie": cookie}
    picture = await robot.get(result["thumbnails"]["base"], headers=headers)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    stranger = await session_of(await sync_to_async(UserFactory)())
    hidden = await robot.get(result["thumbnails"]["base"], headers={**headers, "Cookie": stranger})
    assert hidden.status_code == 404


async def test_a_viewer_is_told_of_feedback(watch: Watch, viewer: User, collection: Collection) -> None:
    socket = watch(cookie=await session_of(viewer))
    await socket.open()
    await next_message(socket, "hello")
    await subscribed(collection)
    for number in (1, 2):
        live.publish_feedback(
            collection.pk,
            {
                "type": "feedback",
                "request_id": str(uuid.UUID(int=number)),
                "feedback_type": "rating",
                "annotator": "ann",
                "created_at": "2026-11-23T00:00:00Z",
            },
        )
    for number in (1, 2):
        assert (await next_message(socket, "feedback"))["request_id"] == str(uuid.UUID(int=number))


async def test_two_collections_never_mix(watch: Watch, viewer: User, collection: Collection) -> None:
    other: Collection = (await sync_to_async(MembershipFactory)(user=viewer)).collection  # type: ignore[assignment]
    cookie = await session_of(viewer)
    here, there = watch(cookie=cookie), watch(other.slug, cookie=cookie)
    for socket, watched in ((here, collection), (there, other)):
        await socket.open()
        assert (await next_message(socket, "hello"))["collection"] == watched.slug
        await subscribed(watched)
    for step in range(1, 4):
        publish(collection, **told(step))
        publish(other, **told(100 + step))
    publish(collection, **told(9))
    publish(other, **told(109))
    for socket, last in ((here, 9), (there, 109)):
        steps: list[int] = []
        while not steps or steps[-1] != last:
            message = json.loads(await socket.receive_text())
            if message["type"] == "result":
                steps.append(message["step"])
        assert all((step < 100) == (last < 100) for step in steps)


# --- who may watch ---


async def test_a_key_and_a_token_open_it_as_a_session_does(watch: Watch, viewer: User, collection: Collection) -> None:
    key = await sync_to_async(ApiKeyFactory)(collections=[collection], scopes=["data:read"])
    token = (await sync_to_async(tokens.issue)(user=viewer, ip_address=None)).access
    for how in ({"authorization": f"Api-Key {key.token}"}, {"authorization": f"Bearer {token}"}):
        socket = watch(**how)
        await socket.open()
        await next_message(socket, "hello")
    socket = watch(subprotocols=["json", f"bearer.{token}"], origin="http://testserver")
    assert await socket.open() == f"bearer.{token}"
    await next_message(socket, "hello")


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"cookie": "sessionid=forged"},
        {"authorization": "Api-Key nonsense"},
        {"authorization": "Bearer nonsense"},
        {"subprotocols": ["bearer.nonsense"]},
    ],
)
async def test_without_credentials_it_is_closed_with_4401(watch: Watch, how: dict[str, Any]) -> None:
    socket = watch(**how)
    await socket.open()
    assert await socket.close_code() == 4401


async def test_a_revoked_token_is_closed_with_4401(watch: Watch, viewer: User) -> None:
    @sync_to_async
    def revoked() -> str:
        pair = tokens.issue(user=viewer, ip_address=None)
        tokens.revoke(family_id=tokens.family_of(pair.refresh).pk, reason=tokens.RevocationReason.LOGOUT)
        return pair.access

    socket = watch(authorization=f"Bearer {await revoked()}")
    await socket.open()
    assert await socket.close_code() == 4401


@pytest.mark.parametrize(("slug", "code"), [("foreign", 4403), ("nowhere", 4404)])
async def test_a_foreign_collection_is_not_allowed_and_an_unknown_one_not_found(
    watch: Watch, viewer: User, slug: str, code: int
) -> None:
    cookie = await session_of(viewer)
    await sync_to_async(CollectionFactory)(slug="foreign")
    socket = watch(slug, cookie=cookie)
    await socket.open()
    assert await socket.close_code() == code


async def test_a_key_that_may_not_read_is_closed_with_4403(watch: Watch, key: ApiKey, collection: Collection) -> None:
    writer = await sync_to_async(ApiKeyFactory)(collections=[collection], scopes=["inference:write"])
    socket = watch(authorization=f"Api-Key {writer.token}")
    await socket.open()
    assert await socket.close_code() == 4403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil.example"])
async def test_a_page_of_another_site_is_refused(watch: Watch, viewer: User, origin: str) -> None:
    accepted, _ = await watch(cookie=await session_of(viewer), origin=origin).connect()
    assert not accepted


class TestWhileItIsOpen:
    @pytest.fixture(autouse=True)
    def _check_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(consumers, "_RECHECK_SECONDS", 0.05)

    async def test_a_member_who_is_removed_is_closed_with_4403(
        self, watch: Watch, viewer: User, collection: Collection
    ) -> None:
        socket = watch(cookie=await session_of(viewer))
        await socket.open()
        await next_message(socket, "hello")
        membership = await viewer.memberships.aget(collection=collection)
        await sync_to_async(remove_membership)(membership=membership)
        assert await socket.close_code() == 4403

    async def test_who_logs_out_is_closed_with_4401(self, watch: Watch, viewer: User) -> None:
        browser = Client()
        await sync_to_async(browser.force_login)(viewer)
        socket = watch(cookie=f"sessionid={browser.cookies['sessionid'].value}")
        await socket.open()
        await next_message(socket, "hello")
        await sync_to_async(browser.logout)()
        assert await socket.close_code() == 4401

    async def test_who_is_deactivated_is_closed_with_4401(self, watch: Watch, viewer: User) -> None:
        socket = watch(cookie=await session_of(viewer))
        await socket.open()
        await next_message(socket, "hello")
        viewer.is_active = False
        await viewer.asave()
        assert await socket.close_code() == 4401

    async def test_a_key_that_is_revoked_is_closed_with_4401(self, watch: Watch, key: ApiKey) -> None:
        socket = watch(authorization=f"Api-Key {key.token}")
        await socket.open()
        await next_message(socket, "hello")
        await sync_to_async(revoke_api_key)(api_key=key)
        assert await socket.close_code() == 4401


# --- slow viewers ---


async def test_a_viewer_with_its_credit_spent_gets_the_newest_and_is_told_how_many_it_missed(
    watch: Watch, viewer: User, collection: Collection
) -> None:
    socket = watch(cookie=await session_of(viewer))
    await socket.open()
    credit = (await next_message(socket, "hello"))["credit"]
    await subscribed(collection)
    await socket.send_json_to({"type": "ack", "n": 0})
    held_back = 0
    publish(collection, **told(held_back, "arm-0"))
    while not await socket.receive_nothing(timeout=0.3):
        assert (await next_message(socket, "result"))["step"] == held_back
        held_back += 1
        publish(collection, **told(held_back, f"arm-{held_back}"))
    assert held_back >= credit

    for step in range(100, 105):
        publish(collection, **told(step, "fast"))
    publish(collection, **told(200, "slow"))
    assert await socket.receive_nothing(timeout=0.3)
    await socket.send_json_to({"type": "ack", "n": 3})
    assert (await next_message(socket, "lagging"))["dropped"] == 4
    assert [(await next_message(socket, "result"))["step"] for _ in range(3)] == [held_back, 104, 200]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "ack"}', '{"type": "ack", "n": "x"}', '{"n": 1}'])
async def test_what_is_not_an_acknowledgement_closes_the_socket(watch: Watch, viewer: User, text: str) -> None:
    socket = watch(cookie=await session_of(viewer))
    await socket.open()
    await next_message(socket, "hello")
    await socket.send_input({"type": "websocket.receive", "text": text})
    assert await socket.close_code() == 1007


async def test_a_viewer_who_never_takes_anything_is_closed(
    watch: Watch, viewer: User, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(live_hub, "STALLED_SECONDS", 0.2)
    socket = watch(cookie=await session_of(viewer))
    await socket.open()
    await next_message(socket, "hello")
    await subscribed(collection)
    await socket.send_json_to({"type": "ack", "n": 0})
    publish(collection, **told(0, "arm-first"))
    await next_message(socket, "result")
    for step in range(CREDIT):
        publish(collection, **told(step, f"arm-{step}"))
    assert await socket.close_code() == 1013


class TestMailbox:
    async def test_a_quiet_hour_is_no_stall(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time counts from when the credit was spent, not from the last acknowledgement."""
        now = 1000.0
        monkeypatch.setattr(live_hub, "time", SimpleNamespace(monotonic=lambda: now))
        board = Board()
        mailbox = Mailbox(board)
        mailbox.acknowledge(0)
        now += 3600
        for step in range(CREDIT):
            board.put(step, b"{}")
        assert len(mailbox.take()) == CREDIT
        stalled = [mailbox.stalled]
        now += STALLED_SECONDS + 1
        stalled.append(mailbox.stalled)
        mailbox.acknowledge(1)
        stalled.append(mailbox.stalled)
        assert stalled == [False, True, False]

    async def test_what_is_kept_for_a_slow_viewer_is_bounded_and_the_rest_counted(self) -> None:
        board = Board()
        mailbox = Mailbox(board)
        for step in range(1000):
            board.put(step, b"%d" % step)
        taken, lagging = [], 0
        while messages := mailbox.take():
            for message in messages:
                told = json.loads(message)
                if isinstance(told, dict):
                    lagging += told["dropped"]
                else:
                    taken.append(told)
        assert taken == list(range(1000 - len(taken), 1000))
        assert len(taken) <= 64
        assert lagging == 1000 - len(taken)

    async def test_one_who_reads_nothing_costs_nothing_for_each_message(self) -> None:
        """Memory does not grow with what he misses, nor work with how many they are."""
        board = Board()
        mailboxes = [Mailbox(board) for _ in range(100)]
        for step in range(5000):
            board.put("arm", b"%d" % step)
            mailboxes[0].take()
        assert [mailbox.take()[-1] for mailbox in mailboxes[1:]] == [b"4999"] * 99
        assert len(board.after(0)) == 1

    async def test_an_acknowledgement_of_more_than_was_sent_gains_nothing(self) -> None:
        mailbox = Mailbox(Board())
        mailbox.acknowledge(10**9)
        mailbox.acknowledge(-5)
        assert mailbox.credit == CREDIT


async def test_all_viewers_together_are_sent_no_more_than_their_share() -> None:
    pace = Pace()
    began = time.monotonic()
    await asyncio.gather(*(pace.turn(10) for _ in range(20)))
    least = 190 / MESSAGES_PER_SECOND
    assert time.monotonic() - began >= least


# --- going on after a break ---


async def test_a_viewer_who_comes_back_is_told_what_came_meanwhile(
    watch: Watch, viewer: User, collection: Collection
) -> None:
    cookie = await session_of(viewer)
    first = watch(cookie=cookie)
    await first.open()
    assert (await next_message(first, "hello"))["resumed"] is False
    await subscribed(collection)
    publish(collection, **told(1))
    seen = (await next_message(first, "result"))["request_id"]
    await first.disconnect()

    for step in (2, 3):
        publish(collection, **told(step))
    publish(collection, **told(4, "arm-02"))
    await come_true(lambda: live_hub.live_hub()._boards[collection.pk].last >= 4)
    again = watch(cookie=cookie, resume=seen)
    await again.open()
    assert (await next_message(again, "hello"))["resumed"] is True
    assert (await next_message(again, "lagging"))["dropped"] == 1
    assert [(await next_message(again, "result"))["step"] for _ in range(2)] == [3, 4]


async def test_a_viewer_whom_nobody_remembers_is_told_how_things_stand(
    watch: Watch, viewer: User, collection: Collection
) -> None:
    @sync_to_async
    def recorded() -> InferenceResult:
        robot = RobotFactory(collection=collection, name="arm-03", last_seen_at=timezone.now())
        return InferenceResultFactory(collection=collection, robot=robot, step=7)

    await recorded()
    socket = watch(cookie=await session_of(viewer), resume=str(uuid.UUID(int=99)))
    await socket.open()
    assert (await next_message(socket, "hello"))["resumed"] is False
    assert (await next_message(socket, "result"))["step"] == 7


# --- rights, asked for many at once ---


async def test_only_living_sessions_of_people_who_may_read_are_confirmed(viewer: User, collection: Collection) -> None:
    @sync_to_async
    def cases() -> dict[str, str]:
        people = {
            "viewer": viewer,
            "superuser": UserFactory(is_superuser=True),
            "stranger": MembershipFactory().user,
            "inactive": MembershipFactory(collection=collection).user,
            "changed": MembershipFactory(collection=collection).user,
            "left": MembershipFactory(collection=collection).user,
        }
        sessions = {}
        for name, user in people.items():
            browser = Client()
            browser.force_login(user)
            sessions[name] = browser.cookies["sessionid"].value
        User.objects.filter(pk=people["inactive"].pk).update(is_active=False)
        people["changed"].set_password("another")
        people["changed"].save()
        people["left"].memberships.all().delete()
        return {session: name for name, session in sessions.items()} | {"forged": "forged"}

    sessions = await cases()
    found = await sync_to_async(confirmed)([(session, collection.pk) for session in sessions])
    assert {sessions[session] for session, _ in found} == {"viewer", "superuser"}
