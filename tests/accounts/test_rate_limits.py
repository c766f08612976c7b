from __future__ import annotations

import multiprocessing
import time
from typing import Any

import pytest
from django.test import Client
from prometheus_client import generate_latest

from accounts import rate_limits
from accounts.credentials import Credential
from accounts.models import RateLimitTier
from core.identifiers import uuid7
from core.problems import Problem
from core.redis import engine_redis
from tests.factories import ApiKeyFactory, CollectionFactory

PROCESSES = 4
SECONDS = 1.5


def credential(*, rate: float | None = None, burst: int | None = None, daily_quota: int | None = None) -> Credential:
    return Credential(
        key_id=uuid7(),
        name="arm",
        secret_hash="",
        scopes=frozenset(),
        collection_ids=frozenset(),
        tier="standard",
        rate=rate,
        burst=burst,
        daily_quota=daily_quota,
        allowed_networks=(),
        expires_at=None,
    )


def is_allowed(known: Credential) -> bool:
    try:
        return rate_limits.take_token(known).allowed
    except Problem:
        return False


def hammer(known: Credential, start: float, outcomes: Any) -> None:
    """In a process of its own: take tokens without a pause; put how many came and when its outer calls were."""
    engine_redis().ping()  # connected before the clock starts
    while time.time() < start:
        pass
    began = last_asked = time.time()
    allowed = int(is_allowed(known))
    first_answered = time.time()
    while (now := time.time()) < start + SECONDS:
        last_asked = now
        allowed += is_allowed(known)
    outcomes.put((allowed, began, first_answered, last_asked, time.time()))


def test_over_several_processes_exactly_the_burst_and_what_refilled_passes() -> None:
    """``burst + rate × t``, give or take one: ``t`` is known to the length of one call at either end."""
    known = credential(rate=40.0, burst=100)
    context = multiprocessing.get_context("fork")
    outcomes = context.Queue()
    engine_redis.cache_clear()  # a socket shared by forked processes would mix their answers
    start = time.time() + 0.5
    children = [context.Process(target=hammer, args=(known, start, outcomes)) for _ in range(PROCESSES)]
    for child in children:
        child.start()
    answers = [outcomes.get(timeout=30) for _ in children]
    for child in children:
        child.join(timeout=30)
    allowed = sum(answer[0] for answer in answers)
    longest = max(answer[4] for answer in answers) - min(answer[1] for answer in answers)
    shortest = max(answer[3] for answer in answers) - min(answer[2] for answer in answers)
    assert 100 + 40 * shortest - 1 <= allowed <= 100 + 40 * longest + 1


def test_a_full_bucket_lets_its_burst_through_and_says_when_to_come_back() -> None:
    known = credential(rate=0.5, burst=5)
    states = [rate_limits.take_token(known) for _ in range(5)]
    assert [state.remaining for state in states] == [4, 3, 2, 1, 0]
    assert states[-1].headers() == {"RateLimit-Limit": "5", "RateLimit-Remaining": "0", "RateLimit-Reset": "10"}
    with pytest.raises(Problem) as refusal:
        rate_limits.take_token(known)
    assert refusal.value.status == 429
    assert refusal.value.all_headers()["Retry-After"] == "2"
    assert refusal.value.all_headers()["RateLimit-Remaining"] == "0"


def test_a_daily_quota_ends_and_is_not_used_up_by_refusals() -> None:
    known = credential(rate=1000.0, burst=2, daily_quota=3)
    taken = [is_allowed(known) for _ in range(2)]
    while not is_allowed(known):  # the bucket refills within milliseconds; refusals meanwhile cost no quota
        pass
    assert taken == [True, True]
    with pytest.raises(Problem) as refusal:
        rate_limits.take_token(known)
    assert 0 < int(refusal.value.all_headers()["Retry-After"]) <= 86_400


def test_a_key_without_limits_is_never_refused_and_has_no_headers() -> None:
    known = credential()
    assert {rate_limits.take_token(known).allowed for _ in range(50)} == {True}
    assert rate_limits.take_token(known).headers() == {}


def test_keys_do_not_share_a_bucket() -> None:
    one, other = credential(rate=0.1, burst=1), credential(rate=0.1, burst=1)
    assert is_allowed(one)
    assert not is_allowed(one)
    assert is_allowed(other)


def test_a_violation_is_counted_by_key_and_tier_also_where_two_keys_share_a_name() -> None:
    one, other = credential(rate=0.1, burst=1), credential(rate=0.1, burst=1)
    assert [is_allowed(one) for _ in range(3)] == [True, False, False]
    assert [is_allowed(other) for _ in range(2)] == [True, False]
    metrics = generate_latest().decode()
    for known, count in ((one, 2), (other, 1)):
        labels = f'key="arm",key_id="{known.key_id}",tier="standard"'
        assert f"vla_rate_limit_violations_total{{{labels}}} {count}.0" in metrics


@pytest.mark.django_db
def test_the_api_counts_a_keys_requests_and_refuses_the_one_too_many() -> None:
    RateLimitTier.objects.create(name="two", rate=0.01, burst=2)
    key = ApiKeyFactory(tier_id="two", collections=[CollectionFactory()])
    client = Client(headers={"Authorization": f"Api-Key {key.token}"})
    answers = [client.get("/api/v1/collections") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2].json()["code"] == "rate_limited"
    assert int(answers[2]["Retry-After"]) >= 1


@pytest.mark.django_db
def test_while_redis_is_away_the_api_answers_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise ConnectionError("away")

    key = ApiKeyFactory(tier_id="standard", collections=[CollectionFactory()])
    monkeypatch.setattr(rate_limits, "engine_redis", away)
    client = Client(headers={"Authorization": f"Api-Key {key.token}"})
    answer = client.get("/api/v1/collections")
    assert answer.status_code == 200
    assert "RateLimit-Limit" not in answer
