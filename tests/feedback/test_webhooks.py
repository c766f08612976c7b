from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from accounts.models import AuditLog, User
from collections_app.models import Collection
from core.problems import Problem
from feedback import services as feedback_services
from feedback.choices import FeedbackType, ReviewVerdict
from feedback.webhooks import addresses, sending, services
from feedback.webhooks.choices import DeliveryState, WebhookEvent
from feedback.webhooks.delivery import MAX_ATTEMPTS, deliver, deliver_due
from feedback.webhooks.models import WebhookDelivery, WebhookEndpoint
from feedback.webhooks.tasks import forget_old_deliveries

pytestmark = pytest.mark.django_db


class Receiver(ThreadingHTTPServer):
    """Answers as told, and keeps what it was sent."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.stops_midway = False
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?x=1"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        if self.server.stops_midway:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            self.rfile.read(1)  # returns when the other side is gone
            return
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Location", "http://169.254.169.254/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with Receiver() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def endpoint(collection: Collection, receiver: Receiver) -> WebhookEndpoint:
    return services.create_endpoint(
        collection=collection, url=receiver.url, events=["feedback.submitted", "feedback.reviewed"]
    )


def test_a_submitted_answer_arrives_signed_and_says_nothing_of_the_person(
    endpoint: WebhookEndpoint, receiver: Receiver, annotator: User, result: Any
) -> None:
    given, _ = feedback_services.give_feedback(
        principal=annotator, result=result, feedback_type=FeedbackType.SUCCESS, comment="Anna thinks it is fine."
    )
    delivery = WebhookDelivery.objects.get()
    assert deliver(delivery_id=delivery.pk)
    path, headers, body = receiver.received[0]
    assert path == "/hook?x=1"
    sent = json.loads(body)
    assert sent["type"] == "feedback.submitted"
    assert sent["data"]["feedback_id"] == str(given.pk)
    assert b"Anna" not in body
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(endpoint.secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == str(delivery.pk)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.response_status, delivery.attempts) == (DeliveryState.DELIVERED, 200, 1)


def test_a_review_is_told_too_and_other_collections_hear_nothing(
    endpoint: WebhookEndpoint, annotator: User, reviewer: User, result: Any
) -> None:
    given, _ = feedback_services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.SUCCESS)
    feedback_services.review_feedback(feedback_id=given.pk, reviewer=reviewer, verdict=ReviewVerdict.ACCEPTED)
    events = list(WebhookDelivery.objects.order_by("created_at").values_list("event", "payload__data__review_state"))
    assert events == [("feedback.submitted", "pending"), ("feedback.reviewed", "accepted")]


def test_an_answer_that_is_rolled_back_is_not_announced(
    endpoint: WebhookEndpoint, annotator: User, result: Any
) -> None:
    with pytest.raises(Problem):
        feedback_services.give_feedback(
            principal=annotator, result=result, feedback_type=FeedbackType.CORRECTION, actions=[[9.0]]
        )
    assert not WebhookDelivery.objects.exists()


def test_a_failing_endpoint_is_tried_again_later_and_later(endpoint: WebhookEndpoint, receiver: Receiver) -> None:
    receiver.statuses = [500, 302]
    delivery = services.ping(endpoint=endpoint)
    pauses = []
    for _ in range(2):
        assert not deliver(delivery_id=delivery.pk)
        delivery.refresh_from_db()
        pauses.append(round((delivery.next_attempt_at - timezone.now()).total_seconds(), -1))
        assert not deliver(delivery_id=delivery.pk), "it is not due yet"
        WebhookDelivery.objects.update(next_attempt_at=timezone.now())
    assert pauses == [10, 40]
    assert delivery.error == "The endpoint answered 302."
    assert len(receiver.received) == 2, "a redirect is not followed"
    assert deliver_due() == 1


def test_where_nobody_answers_the_endpoint_rests_and_keeps_no_worker_from_other_work(
    endpoint: WebhookEndpoint, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def send(_target: Any, *, message_id: str, **_request: Any) -> int:
        tried.append(message_id)
        raise sending.SendingError("TimeoutError: timed out")

    deliveries = [services.ping(endpoint=endpoint) for _ in range(3)]
    with time_machine.travel(timezone.now(), tick=False) as clock, monkeypatch.context() as silent:
        silent.setattr(sending, "send", send)
        for rest in (10, 40, 160, 600, 600, 600, 600):
            assert deliver_due() == 0
            assert not deliver(delivery_id=deliveries[2].pk)
            endpoint.refresh_from_db()
            assert endpoint.rests_until == timezone.now() + timedelta(seconds=rest)
            clock.shift(timedelta(seconds=rest))
        assert len(tried) == 7
        clock.shift(timedelta(days=1))
        assert deliver_due() == 0
        assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {DeliveryState.FAILED}
        clock.shift(timedelta(hours=1))
    assert endpoint.silences == 7
    assert deliver(delivery_id=services.ping(endpoint=endpoint).pk), "a test is not kept waiting"
    endpoint.refresh_from_db()
    assert (endpoint.silences, endpoint.rests_until) == (0, None)
    assert len(receiver.received) == 1


def test_an_answer_that_does_not_end_is_not_waited_for(
    endpoint: WebhookEndpoint, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "DEADLINE_SECONDS", 0.3)
    receiver.stops_midway = True
    delivery = services.ping(endpoint=endpoint)
    assert not deliver(delivery_id=delivery.pk)
    delivery.refresh_from_db()
    assert delivery.error == "No whole answer within 0.3 s."


def test_an_endpoint_that_is_switched_off_is_sent_nothing_but_tests(
    endpoint: WebhookEndpoint, receiver: Receiver, annotator: User, result: Any
) -> None:
    feedback_services.give_feedback(principal=annotator, result=result, feedback_type=FeedbackType.SUCCESS)
    WebhookEndpoint.objects.update(enabled=False)
    assert not deliver(delivery_id=WebhookDelivery.objects.get().pk)
    assert deliver(delivery_id=services.ping(endpoint=endpoint).pk)
    assert [json.loads(body)["type"] for *_, body in receiver.received] == ["ping"]


def test_an_address_in_any_alphabet_is_asked_for_as_it_travels(endpoint: WebhookEndpoint, receiver: Receiver) -> None:
    url = f"{receiver.url.partition('?')[0]}/grüße%20an?wer=ä&x=1"
    services.update_endpoint(endpoint=endpoint, url=url, events=["feedback.submitted"], enabled=True)
    assert deliver(delivery_id=services.ping(endpoint=endpoint).pk)
    assert receiver.received[0][0] == "/hook/gr%C3%BC%C3%9Fe%20an?wer=%C3%A4&x=1"


def test_the_log_forgets_what_is_over_for_a_month(endpoint: WebhookEndpoint) -> None:
    old, open_still, new = (services.ping(endpoint=endpoint) for _ in range(3))
    WebhookDelivery.objects.exclude(pk=new.pk).update(created_at=timezone.now() - timedelta(days=31))
    WebhookDelivery.objects.exclude(pk=open_still.pk).update(state=DeliveryState.DELIVERED)
    assert forget_old_deliveries() == 1
    assert set(WebhookDelivery.objects.all()) == {open_still, new}
    assert not WebhookDelivery.objects.filter(pk=old.pk).exists()


def test_after_eight_attempts_it_is_given_up_until_somebody_sends_it_again(
    endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.statuses = [503] * MAX_ATTEMPTS
    delivery = services.ping(endpoint=endpoint)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(MAX_ATTEMPTS):
            deliver(delivery_id=delivery.pk)
            clock.shift(timedelta(days=1))
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (DeliveryState.FAILED, MAX_ATTEMPTS)
    assert deliver_due() == 0
    services.replay(delivery=delivery)
    assert deliver_due() == 1
    assert receiver.received[-1][1]["webhook-id"] == receiver.received[0][1]["webhook-id"]


def test_nobody_listening_is_noted(collection: Collection, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        endpoint = services.create_endpoint(collection=collection, url=url, events=["feedback.submitted"])
        delivery = services.ping(endpoint=endpoint)
        assert not deliver(delivery_id=delivery.pk)
    delivery.refresh_from_db()
    assert delivery.error.startswith("ConnectionRefusedError")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://172.16.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://017700000001/",
        "https://127.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fd00::1]/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[::7f00:1]/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://user:secret@93.184.215.14/",
        "http://93.184.215.14/",
        "ftp://93.184.215.14/",
        "file:///etc/passwd",
        "gopher://93.184.215.14/",
        "https:///nowhere",
        "https://93.184.215.14:99999/",
    ],
)
def test_an_address_inside_our_network_is_refused(collection: Collection, url: str) -> None:
    with pytest.raises(Problem) as caught:
        services.create_endpoint(collection=collection, url=url, events=["feedback.submitted"])
    assert caught.value.errors[0].pointer == "/url"
    assert not WebhookEndpoint.objects.exists()


def _resolves_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    asked: list[str] = []
    waiting = list(answers)

    def getaddrinfo(host: str, port: int, **_options: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in waiting.pop(0)]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)
    return asked


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves_to(monkeypatch, ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(addresses.ForbiddenAddressError):
        addresses.resolve("https://hooks.example.org/")


def test_the_connection_goes_to_the_address_that_was_checked(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the name answers with a public address first, and with ours when it is asked again."""
    asked = _resolves_to(monkeypatch, ["93.184.215.14"], ["93.184.215.14"], ["127.0.0.1"])
    connected: list[tuple[str, int]] = []

    def create_connection(address: tuple[str, int], **_options: Any) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("feedback.webhooks.sending.socket.create_connection", create_connection)
    endpoint = services.create_endpoint(
        collection=collection, url="https://hooks.example.org/x", events=["feedback.submitted"]
    )
    deliver(delivery_id=services.ping(endpoint=endpoint).pk)
    assert connected == [("93.184.215.14", 443)]
    assert asked == ["hooks.example.org"] * 2, "once for the entry, once for the attempt, never for the connection"


def test_an_endpoint_whose_name_moves_inside_is_not_called(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolves_to(monkeypatch, ["93.184.215.14"], ["127.0.0.1"])
    endpoint = services.create_endpoint(
        collection=collection, url="https://hooks.example.org/x", events=["feedback.submitted"]
    )
    delivery = services.ping(endpoint=endpoint)
    assert not deliver(delivery_id=delivery.pk)
    delivery.refresh_from_db()
    assert delivery.error == "The host is not a public one."


def test_secrets_are_encrypted_at_rest_rotated_and_never_in_the_trail(endpoint: WebhookEndpoint) -> None:
    first = endpoint.secret
    second = services.rotate_secret(endpoint=endpoint)
    assert first != second
    raw = WebhookEndpoint.objects.extra(select={"raw": "secret"}).values_list("raw", flat=True).get()
    assert "whsec_" not in raw
    trail = str(list(AuditLog.objects.values_list("changes", flat=True)))
    assert first not in trail
    assert second not in trail


def test_events_are_known_by_name(collection: Collection) -> None:
    assert services.announce(collection_id=collection.pk, event=WebhookEvent.EXPORT_FINISHED, data={}) == 0
