"""Guessing passwords and codes, slowed down until it is hopeless.

Attempts are counted before they are judged, so that a hundred at once are a hundred; a success takes its own back.
Three counters answer three kinds of guessing: one account from one address, one account from many addresses, many
accounts from one address. The last two are wide enough that nobody is locked out by a neighbour's typing.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass

from core.problems import Problem
from core.redis import UNAVAILABLE, engine_redis, key


@dataclass(frozen=True, slots=True)
class Limit:
    """So many attempts, counted from the first for so many seconds."""

    attempts: int
    seconds: int


PAIR_LIMIT = Limit(5, 15 * 60)
ACCOUNT_LIMIT = Limit(50, 60 * 60)
ADDRESS_LIMIT = Limit(100, 60 * 60)


def count_attempt(*, account: str, ip_address: str | None) -> None:
    """Count one attempt at ``account``, whether or not there is such an account.

    Raises ``Problem`` 429 with the time to wait where there were too many, 503 where Redis is away: nobody logs in
    uncounted.
    """
    counters = _counters(account, ip_address)
    try:
        with engine_redis().pipeline(transaction=True) as pipe:
            for name, limit in counters.items():
                pipe.incr(name)
                pipe.expire(name, limit.seconds, nx=True)
                pipe.ttl(name)
            answers = pipe.execute()
    except UNAVAILABLE:
        raise Problem(503, "unavailable", "Logging in is not possible at the moment.", retry_after=2) from None
    waits = [
        ttl
        for (count, _, ttl), limit in zip(_triples(answers), counters.values(), strict=True)
        if count > limit.attempts
    ]
    if waits:
        raise Problem(429, "too_many_attempts", "Too many attempts. Wait, then try again.", retry_after=max(waits))


def forget_attempts(*, account: str, ip_address: str | None) -> None:
    """The attempt was good: clear the account's counters, and take it back from the address's."""
    pair, one_account, address = _counters(account, ip_address)
    with engine_redis().pipeline(transaction=True) as pipe:
        pipe.delete(pair, one_account)
        pipe.decr(address)
        pipe.expire(address, ADDRESS_LIMIT.seconds, nx=True)
        pipe.execute()


def _counters(account: str, ip_address: str | None) -> dict[str, Limit]:
    # Hashed: what people type as their name may be their password.
    name = hashlib.sha256(unicodedata.normalize("NFKC", account).casefold().encode()).hexdigest()[:32]
    return {
        key("attempts", name, ip_address): PAIR_LIMIT,
        key("attempts", "account", name): ACCOUNT_LIMIT,
        key("attempts", "address", ip_address): ADDRESS_LIMIT,
    }


def _triples(answers: list[int]) -> list[tuple[int, int, int]]:
    return list(zip(answers[::3], answers[1::3], answers[2::3], strict=True))
