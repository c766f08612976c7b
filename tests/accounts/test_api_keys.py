from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import credentials, services
from accounts.models import ApiKey, AuditLog, RateLimitTier
from accounts.tasks import record_key_use
from collections_app.models import Collection
from collections_app.services import grant_api_key, withdraw_api_key
from tests.factories import CollectionFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collection() -> Collection:
    return CollectionFactory(slug="kitchen")


def create(collection: Collection, **values: Any) -> tuple[ApiKey, str]:
    tier = RateLimitTier.objects.get(name="standard")
    key, token = services.create_api_key(**{"name": "arm", "scopes": ["data:read"], "tier": tier, **values})
    grant_api_key(api_key=key, collection=collection)
    return key, token


def seen(token: str, **extra: Any) -> Any:
    """What the key sees of the collections: their slugs, or the status of the refusal."""
    response = APIClient().get("/api/v1/collections", HTTP_AUTHORIZATION=f"Api-Key {token}", **extra)
    return [c["slug"] for c in response.json()["results"]] if response.status_code == 200 else response.status_code


def within_a_second(token: str, expected: Any) -> bool:
    """Whether a process that keeps its own snapshot of the key answers as expected in under a second."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        if seen(token) == expected:
            return True
    return False


def test_only_a_keyed_hash_of_the_secret_is_stored(collection: Collection, settings: Any) -> None:
    key, token = create(collection)
    secret = token.removeprefix(f"vla_{key.public_id}_")
    assert len(secret) == 43
    assert secret not in str(ApiKey.objects.values())
    stored = key.secret_hash
    settings.API_KEY_PEPPER = "another pepper " * 3
    assert credentials.hash_secret(secret) != stored


def test_the_log_does_not_show_a_token() -> None:
    from core.logging import redact

    _public_id, _secret, token = credentials.generate_token()
    assert token not in str(redact(None, "info", {"event": f"refused {token}", "authorization": token}))


def test_a_revoked_key_stops_everywhere_within_a_second(collection: Collection) -> None:
    key, token = create(collection)
    assert seen(token) == ["kitchen"]
    services.revoke_api_key(api_key=key)
    assert within_a_second(token, 401)
    services.revoke_api_key(api_key=key)
    assert AuditLog.objects.filter(action="api_key.revoked").count() == 1


def test_a_withdrawn_collection_is_gone_within_a_second(collection: Collection) -> None:
    key, token = create(collection)
    assert seen(token) == ["kitchen"]
    withdraw_api_key(grant=key.grants.get())
    assert within_a_second(token, [])


def test_rotation_gives_a_new_key_and_the_old_one_goes_on_for_the_overlap(collection: Collection) -> None:
    key, token = create(collection)
    new, new_token = services.rotate_api_key(api_key=key, overlap=timedelta(hours=1))
    assert seen(token) == seen(new_token) == ["kitchen"]
    assert (new.scopes, new.tier) == (key.scopes, key.tier)
    with time_machine.travel(time.time() + 3601):
        assert seen(token) == 401
        assert seen(new_token) == ["kitchen"]


def test_rotation_never_lengthens_a_keys_life_and_a_revoked_key_is_not_rotated(collection: Collection) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    key, _token = create(collection, expires_at=soon)
    services.rotate_api_key(api_key=key, overlap=timedelta(days=7))
    key.refresh_from_db()
    assert key.expires_at == soon
    services.revoke_api_key(api_key=key)
    with pytest.raises(ValidationError):
        services.rotate_api_key(api_key=key, overlap=timedelta(days=7))


def test_an_expired_key_is_refused(collection: Collection) -> None:
    _key, token = create(collection, expires_at=timezone.now() + timedelta(minutes=5))
    assert seen(token) == ["kitchen"]
    with time_machine.travel(time.time() + 301):
        assert seen(token) == 401


def test_a_key_is_used_only_from_its_networks(collection: Collection) -> None:
    _key, token = create(collection, allowed_networks=["192.0.2.0/24", "2001:db8::/32"])
    assert seen(token, REMOTE_ADDR="192.0.2.7") == ["kitchen"]
    assert seen(token, REMOTE_ADDR="2001:db8::7") == ["kitchen"]
    assert seen(token, REMOTE_ADDR="::ffff:192.0.2.7") == ["kitchen"]
    assert seen(token, REMOTE_ADDR="198.51.100.1") == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["collection:manage"]},
        {"scopes": ["everything"]},
        {"allowed_networks": ["10.0.0.0/40"]},
    ],
)
def test_unknown_scopes_and_networks_are_refused(collection: Collection, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        create(collection, **wrong)
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "vla_",
        "vla_abcdefgh_",
        "vla_abcdefgh_" + "x" * 43,
        "vla_abcdefgh_" + "x" * 5000,
        "sk_live_x",
        "vla_é_" + "x" * 43,
        "vla_abcdefgh_" + "x" * 42 + "'",
    ],
)
def test_what_is_no_key_of_ours_is_401(token: str) -> None:
    response = APIClient().get("/api/v1/collections", HTTP_AUTHORIZATION=f"Api-Key {token}")
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Api-Key")


def test_the_right_public_id_with_another_secret_is_401(collection: Collection) -> None:
    key, token = create(collection)
    assert seen(token) == ["kitchen"]
    assert seen(f"vla_{key.public_id}_" + "x" * 43) == 401


def test_a_changed_tier_reaches_its_keys_within_a_second(collection: Collection) -> None:
    key, token = create(collection)
    assert credentials.authenticate(token, ip_address=None).burst == 100
    services.update_tier(tier=key.tier, changes={"rate": 5.0, "burst": 7})
    credentials._local.clear()  # as in a process that has not met the key within half a second
    assert credentials.authenticate(token, ip_address=None).burst == 7


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("create_api_key", *arguments, stdout=out)
    return out.getvalue().strip()


def test_the_command_prints_a_key_that_works_for_the_collection(collection: Collection) -> None:
    CollectionFactory()
    token = run("arm-07", "--collection", "kitchen", "--scopes", "inference:write,data:read", "--tier", "high")
    assert re.fullmatch(r"vla_\w{8}_[\w-]{43}", token)
    assert seen(token) == ["kitchen"]
    key = ApiKey.objects.get()
    assert (key.name, key.scopes, key.tier_id) == ("arm-07", ["inference:write", "data:read"], "high")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--collection", "kitchn"], "There is no collection named kitchn. There are: kitchen"),
        (["--collection", "kitchen", "--tier", "gold"], "There is no rate limit tier named gold"),
        (["--collection", "kitchen", "--scopes", "all"], "all"),
    ],
)
def test_the_command_names_what_is_wrong_and_creates_nothing(
    collection: Collection, arguments: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        run("arm", *arguments)
    assert not ApiKey.objects.exists()


def test_a_reader_who_was_slower_than_the_revocation_brings_nothing_old_back(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, token = create(collection)
    credentials._local.clear()
    credentials.engine_redis().flushdb()
    read = credentials._from_database

    def revoked_meanwhile(public_id: str) -> Any:
        found = read(public_id)
        services.revoke_api_key(api_key=key)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(credentials, "_from_database", revoked_meanwhile)
        seen(token)
    credentials._local.clear()
    assert seen(token) == 401


def test_the_last_use_of_a_key_is_written_with_a_minutes_resolution(collection: Collection) -> None:
    key, token = create(collection)
    now = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
    for moment in (now, now + timedelta(seconds=5)):
        with time_machine.travel(moment, tick=False):
            assert seen(token) == ["kitchen"]
    record_key_use()
    key.refresh_from_db()
    assert key.last_used_at == now
    record_key_use()
    assert seen("vla_" + key.public_id + "_" + "x" * 43) == 401
    record_key_use()
    key.refresh_from_db()
    assert key.last_used_at == now
