from __future__ import annotations

import base64
import time
from typing import Any

import pytest
import time_machine
from django.contrib.auth import SESSION_KEY
from django.test import Client
from django.urls import reverse
from django_otp.oath import hotp

from accounts import services
from accounts.models import AuditLog, SecondFactor, User
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def still_clock() -> Any:
    with time_machine.travel(NOW, tick=False) as clock:
        yield clock


def code_of(secret: str, moment: float | None = None) -> str:
    step = int(time.time() if moment is None else moment) // 30
    return f"{hotp(base64.b32decode(secret), step):06d}"


def with_second_factor(**values: Any) -> tuple[User, str, list[str]]:
    """A person with a confirmed factor, its secret and the recovery codes."""
    user = UserFactory(username="ada", **values)
    secret = services.begin_second_factor(user=user).secret
    with time_machine.travel(NOW - 300, tick=False):
        codes = services.confirm_second_factor(user=user, code=code_of(secret), ip_address=None)
    return user, secret, codes


def enter_password(client: Client, **extra: str) -> Any:
    return client.post(reverse("login"), {"username": "ada", "password": PASSWORD, **extra})


def is_logged_in(client: Client) -> bool:
    return SESSION_KEY in client.session


def test_a_password_logs_in_with_a_new_session_key_and_the_trail_says_so(client: Client) -> None:
    UserFactory(username="ada")
    client.session.save()
    planted = client.session.session_key
    client.cookies["sessionid"] = planted
    response = enter_password(client, next="/collections/")
    assert response["Location"] == "/collections/"
    assert is_logged_in(client)
    assert client.session.session_key != planted
    assert AuditLog.objects.get(action="user.logged_in").resource_name == "ada"


def test_after_logging_in_nobody_is_sent_to_another_host(client: Client) -> None:
    UserFactory(username="ada")
    assert enter_password(client, next="https://evil.example/")["Location"] == reverse("home")


def test_a_wrong_password_logs_nobody_in_and_guessing_is_locked_out(client: Client) -> None:
    UserFactory(username="ada")
    for n in range(5):
        response = client.post(reverse("login"), {"username": "ada", "password": f"guess {n}"})
        assert "The name or the password is wrong." in response.content.decode()
    assert "Too many attempts" in enter_password(client).content.decode()
    assert not is_logged_in(client)


def test_who_has_a_second_factor_is_logged_in_by_the_code_and_not_before(client: Client) -> None:
    _user, secret, _codes = with_second_factor()
    response = enter_password(client, next="/collections/")
    assert response["Location"] == reverse("second-factor")
    assert not is_logged_in(client)
    assert client.get("/api/v1/collections").status_code == 401
    response = client.post(reverse("second-factor"), {"code": code_of(secret)})
    assert response["Location"] == "/collections/"
    assert is_logged_in(client)


def test_a_code_works_once_and_an_old_or_future_one_not_at_all() -> None:
    _user, secret, _codes = with_second_factor()
    outcomes = {}
    for name, moment in {"now": NOW, "again": NOW, "long ago": NOW - 90, "far ahead": NOW + 90}.items():
        client = Client()
        enter_password(client)
        client.post(reverse("second-factor"), {"code": code_of(secret, moment)})
        outcomes[name] = is_logged_in(client)
    assert outcomes == {"now": True, "again": False, "long ago": False, "far ahead": False}


def test_a_recovery_code_works_once() -> None:
    user, _secret, codes = with_second_factor()
    for expected in (True, False):
        client = Client()
        enter_password(client)
        client.post(reverse("second-factor"), {"code": codes[3].upper()})
        assert is_logged_in(client) is expected
    assert len(SecondFactor.objects.get(user=user).recovery_hashes) == 9
    assert AuditLog.objects.filter(action="second_factor.recovery_code_used").count() == 1


def test_guessing_codes_is_locked_out(client: Client) -> None:
    _user, secret, _codes = with_second_factor()
    enter_password(client)
    for n in range(5):
        client.post(reverse("second-factor"), {"code": f"{n:06d}"})
    response = client.post(reverse("second-factor"), {"code": code_of(secret)})
    assert "Too many attempts" in response.content.decode()
    assert not is_logged_in(client)


def test_the_code_page_is_closed_without_a_password_and_ten_minutes_after_it(client: Client, still_clock: Any) -> None:
    assert client.get(reverse("second-factor"))["Location"] == reverse("login")
    with_second_factor()
    enter_password(client)
    assert client.get(reverse("second-factor")).status_code == 200
    still_clock.shift(601)
    assert client.get(reverse("second-factor"))["Location"] == reverse("login")


def test_staff_set_up_a_second_factor_before_their_first_session_where_it_is_required(
    client: Client, settings: Any
) -> None:
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    user = UserFactory(username="ada", is_staff=True)
    assert enter_password(client, next="/admin/")["Location"] == reverse("second-factor-setup")
    assert not is_logged_in(client)
    page = client.get(reverse("second-factor-setup"))
    secret = page.context["secret"]
    assert secret in page.content.decode()
    assert page.context["qr_code"].startswith("data:image/svg+xml;base64,")
    wrong = client.post(reverse("second-factor-setup"), {"code": "000000"})
    assert "The code is wrong" in wrong.content.decode()
    assert client.get(reverse("second-factor-setup")).context["secret"] == secret
    done = client.post(reverse("second-factor-setup"), {"code": code_of(secret)})
    assert done["Cache-Control"] == "no-store"
    assert len(done.context["codes"]) == 10
    assert is_logged_in(client)
    assert SecondFactor.objects.get(user=user).confirmed_at is not None


def test_a_confirmed_factor_cannot_be_replaced_by_whoever_knows_the_password(client: Client) -> None:
    with_second_factor()
    enter_password(client)
    assert client.get(reverse("second-factor-setup"))["Location"] == reverse("second-factor")
    client.post(reverse("second-factor-setup"), {"code": "123456"})
    assert not is_logged_in(client)


def test_the_admin_has_no_log_in_of_its_own(client: Client) -> None:
    response = client.post("/admin/login/?next=/admin/", {"username": "ada", "password": PASSWORD})
    assert response["Location"] == reverse("login") + "?next=/admin/"


def test_a_new_password_ends_every_other_session_and_keeps_this_one(client: Client) -> None:
    user = UserFactory(username="ada")
    other = Client()
    enter_password(client)
    enter_password(other)
    new = "a much longer password 7"
    client.post(reverse("change-password"), {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    assert client.get(reverse("account")).status_code == 200
    assert other.get(reverse("account")).status_code == 302
    assert AuditLog.objects.filter(action="user.password_changed", resource_id=user.pk).count() == 1


def test_the_old_password_cannot_be_guessed_in_a_session_left_open(client: Client) -> None:
    UserFactory(username="ada")
    enter_password(client)
    new = "a much longer password 7"
    for n in range(6):
        body = {"old_password": f"guess {n}", "new_password1": new, "new_password2": new}
        page = client.post(reverse("change-password"), body).content.decode()
    assert "Too many attempts" in page
    page = client.post(reverse("change-password"), {**body, "old_password": PASSWORD}).content.decode()
    assert "Too many attempts" in page
    assert User.objects.get(username="ada").check_password(PASSWORD)


def test_what_somebody_does_before_they_log_in_is_not_said_to_be_the_systems(client: Client) -> None:
    UserFactory(username="ada")
    enter_password(client, password="wrong")
    entry = AuditLog.objects.get(action="user.login_failed")
    assert (entry.actor_name, entry.actor_id, entry.ip_address) == ("(anonymous)", None, "127.0.0.1")


def test_logging_out_everywhere_ends_every_session(client: Client) -> None:
    UserFactory(username="ada")
    other = Client()
    enter_password(client)
    enter_password(other)
    assert client.post(reverse("log-out-everywhere"))["Location"] == reverse("login")
    assert other.get(reverse("account")).status_code == 302
    assert client.get(reverse("account")).status_code == 302


def test_logging_out_takes_a_post_and_is_in_the_trail(client: Client) -> None:
    UserFactory(username="ada")
    enter_password(client)
    assert client.get(reverse("logout")).status_code == 405
    client.post(reverse("logout"))
    assert not is_logged_in(client)
    assert AuditLog.objects.filter(action="user.logged_out").count() == 1


def test_forms_are_refused_without_their_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    UserFactory(username="ada")
    assert enter_password(client).status_code == 403
