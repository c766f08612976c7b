from __future__ import annotations

import base64
import time
from datetime import timedelta
from typing import Any

import jwt
import orjson
import pytest
import time_machine
from django.conf import settings
from rest_framework.test import APIClient

from accounts import second_factor, services
from accounts.models import AuditLog, TokenFamily, User
from core.redis import engine_redis, key
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture
def user() -> User:
    return UserFactory(username="ada")


def post(path: str, body: dict[str, Any], token: str = "") -> Any:
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    return APIClient().post(f"/api/v1/auth/{path}", body, format="json", **headers)


def log_in(**extra: str) -> dict[str, str]:
    response = post("token", {"username": "ada", "password": PASSWORD, **extra})
    assert response.status_code == 200, response.json()
    return dict(response.json())


def works(access: str) -> bool:
    status = APIClient().get("/api/v1/collections", HTTP_AUTHORIZATION=f"Bearer {access}").status_code
    assert status in (200, 401)
    return status == 200


def test_a_pair_for_a_password_and_its_access_token_opens_the_api(user: User) -> None:
    pair = log_in()
    assert works(pair["access"])
    assert AuditLog.objects.get(action="token.issued").actor_id == user.pk


def test_a_wrong_password_and_an_unknown_name_get_the_same_401_and_the_trail_keeps_no_unknown_name(user: User) -> None:
    wrong = post("token", {"username": "ada", "password": "wrong"})
    unknown = post("token", {"username": "my secret by mistake", "password": "wrong"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json()["detail"] == unknown.json()["detail"]
    entries = AuditLog.objects.filter(action="user.login_failed").order_by("id")
    assert [entry.resource_name for entry in entries] == ["ada", "(unknown)"]


def test_a_refresh_token_gives_a_new_pair(user: User) -> None:
    pair = log_in()
    again = post("refresh", {"refresh": pair["refresh"]})
    assert again.status_code == 200
    assert works(again.json()["access"])
    assert again.json()["refresh"] != pair["refresh"]


def test_a_refresh_token_used_twice_ends_every_token_of_the_log_in_and_no_other(user: User) -> None:
    pair, other = log_in(), log_in()
    newer = post("refresh", {"refresh": pair["refresh"]}).json()
    assert post("refresh", {"refresh": pair["refresh"]}).status_code == 401
    assert post("refresh", {"refresh": newer["refresh"]}).status_code == 401
    assert not works(newer["access"])
    assert not works(pair["access"])
    assert works(other["access"])
    assert AuditLog.objects.get(action="token.revoked").changes["reason"] == [None, "reuse"]


@pytest.mark.parametrize("proof", ["refresh", "access"])
def test_logging_out_ends_the_refresh_and_the_access_token(user: User, proof: str) -> None:
    pair = log_in()
    assert works(pair["access"])
    response = (
        post("logout", {"refresh": pair["refresh"]}) if proof == "refresh" else post("logout", {}, pair["access"])
    )
    assert response.status_code == 204
    assert not works(pair["access"])
    assert post("refresh", {"refresh": pair["refresh"]}).status_code == 401


def test_logging_out_twice_is_no_error_and_without_a_token_is_401(user: User) -> None:
    pair = log_in()
    assert post("logout", {"refresh": pair["refresh"]}).status_code == 204
    assert post("logout", {"refresh": pair["refresh"]}).status_code == 204
    assert post("logout", {}).status_code == 401
    assert post("logout", {"refresh": "nonsense"}).status_code == 401


def test_logging_out_everywhere_ends_all_tokens_and_all_browser_sessions(user: User) -> None:
    browser = APIClient()
    browser.force_login(user)
    assert browser.get("/api/v1/collections").status_code == 200
    one, two = log_in(), log_in()
    assert post("logout", {"refresh": one["refresh"], "everywhere": True}).status_code == 204
    assert not works(one["access"])
    assert not works(two["access"])
    assert browser.get("/api/v1/collections").status_code == 401


def test_a_blacklist_that_redis_lost_is_filled_again_from_the_database(user: User) -> None:
    pair, other = log_in(), log_in()
    post("logout", {"refresh": pair["refresh"]})
    assert engine_redis().exists(key("revoked", TokenFamily.objects.get(revoked_at__isnull=False).pk))
    engine_redis().flushdb()
    assert not works(pair["access"])
    assert works(other["access"])


def test_while_redis_is_away_the_database_says_what_was_revoked(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, other = log_in(), log_in()
    post("logout", {"refresh": pair["refresh"]})

    def away() -> Any:
        raise ConnectionError("away")

    monkeypatch.setattr("accounts.tokens.engine_redis", away)
    assert not works(pair["access"])
    assert works(other["access"])


def test_a_changed_password_ends_tokens_however_it_was_changed(user: User) -> None:
    pair = log_in()
    user.set_password("another long password")  # as `manage.py changepassword` does, past every service
    user.save()
    assert post("refresh", {"refresh": pair["refresh"]}).status_code == 401


def test_a_deactivated_person_gets_no_tokens_and_loses_those_there_are(user: User) -> None:
    pair = log_in()
    services.update_user(user=user, changes={"is_active": False})
    assert not works(pair["access"])
    assert post("refresh", {"refresh": pair["refresh"]}).status_code == 401
    assert post("token", {"username": "ada", "password": PASSWORD}).status_code == 401


def test_an_access_token_expires(user: User) -> None:
    pair = log_in()
    with time_machine.travel(time.time() + settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"].total_seconds() + 60):
        assert not works(pair["access"])


def forged(claims: dict[str, Any], **header: Any) -> str:
    """``claims`` in a token without a signature, with any header."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT', **header})}.{part(claims)}."


def test_tokens_that_we_did_not_sign_open_nothing(user: User) -> None:
    pair = log_in()
    claims = jwt.decode(pair["access"], options={"verify_signature": False})
    later = {**claims, "exp": int(time.time()) + 9999}
    key_of_nobody = "k" * 64
    attempts = {
        "no algorithm": forged(later),
        "no algorithm, in capitals": forged(later, alg="NONE"),
        "another key": jwt.encode(later, key_of_nobody, algorithm="HS256"),
        "a longer hash": jwt.encode(later, settings.SECRET_KEY, algorithm="HS512"),
        "a key id that names a file": jwt.encode(later, key_of_nobody, algorithm="HS256", headers={"kid": "/dev/null"}),
        "a key of its own": jwt.encode(later, key_of_nobody, algorithm="HS256", headers={"jwk": {"k": key_of_nobody}}),
        "a refresh token as access token": pair["refresh"],
        "another's claims under our signature": ".".join(
            [
                pair["access"].split(".")[0],
                forged({**claims, "user_id": str(UserFactory().pk)}).split(".")[1],
                pair["access"].split(".")[2],
            ]
        ),
        "a family that never was": jwt.encode(
            {name: value for name, value in claims.items() if name != "fam"}, settings.SECRET_KEY, algorithm="HS256"
        ),
    }
    assert {name: works(token) for name, token in attempts.items()} == dict.fromkeys(attempts, False)
    assert post("refresh", {"refresh": pair["access"]}).status_code == 401


def test_guessing_is_locked_out_with_the_time_to_wait_and_the_right_password_does_not_help(user: User) -> None:
    statuses = [post("token", {"username": "ada", "password": f"guess {n}"}).status_code for n in range(6)]
    assert statuses == [401] * 5 + [429]
    locked = post("token", {"username": "ADA", "password": PASSWORD})
    assert locked.status_code == 429
    assert locked.json()["code"] == "too_many_attempts"
    assert 0 < int(locked["Retry-After"]) <= 15 * 60


def test_from_another_address_the_account_is_not_locked(user: User) -> None:
    for n in range(6):
        post("token", {"username": "ada", "password": f"guess {n}"})
    body = {"username": "ada", "password": PASSWORD}
    elsewhere = APIClient(REMOTE_ADDR="192.0.2.7").post("/api/v1/auth/token", body, format="json")
    assert elsewhere.status_code == 200


def test_without_redis_nobody_logs_in_uncounted(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise ConnectionError("away")

    monkeypatch.setattr("accounts.lockout.engine_redis", away)
    response = post("token", {"username": "ada", "password": PASSWORD})
    assert response.status_code == 503
    assert response["Retry-After"]


def test_who_has_a_second_factor_sends_its_code_which_works_once(user: User) -> None:
    factor = services.begin_second_factor(user=user)
    now = int(time.time())
    with time_machine.travel(now, tick=False):
        services.confirm_second_factor(user=user, code=code_of(factor.secret, now), ip_address=None)
    missing = post("token", {"username": "ada", "password": PASSWORD})
    assert (missing.status_code, missing.json()["code"]) == (401, "code_required")
    with time_machine.travel(now + 60, tick=False):
        code = code_of(factor.secret, now + 60)
        log_in(code=code)
        assert post("token", {"username": "ada", "password": PASSWORD, "code": code}).status_code == 401


def test_staff_without_a_second_factor_get_no_tokens_where_one_is_required(settings: Any) -> None:
    settings.STAFF_SECOND_FACTOR_REQUIRED = True
    UserFactory(username="ada", is_staff=True)
    response = post("token", {"username": "ada", "password": PASSWORD})
    assert (response.status_code, response.json()["code"]) == (403, "second_factor_required")


def code_of(secret: str, moment: float) -> str:
    step = int(moment) // second_factor.STEP_SECONDS
    return f"{second_factor.hotp(base64.b32decode(secret), step):06d}"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"username": "ada"}, "/password"),
        ({"username": "ada", "password": "x", "otp": "1"}, "/otp"),
        ({"username": "a\u0000b", "password": "x"}, None),
        ({"username": ["ada"], "password": "x"}, "/username"),
    ],
)
def test_a_malformed_log_in_is_400(body: dict[str, Any], pointer: str | None) -> None:
    response = post("token", body)
    assert response.status_code == 400
    if pointer:
        assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_the_refresh_token_of_a_family_outlives_neither_its_lifetime_nor_the_clean_up(user: User) -> None:
    from accounts.tasks import forget_expired_tokens

    pair = log_in()
    with time_machine.travel(time.time() + timedelta(days=8).total_seconds()):
        assert post("refresh", {"refresh": pair["refresh"]}).status_code == 401
        forget_expired_tokens()
    assert not TokenFamily.objects.exists()
