"""Token buckets in Redis: exact across any number of processes, on Redis' own clock.

A bucket holds at most ``burst`` tokens and refills at ``rate`` per second; a request takes one. Of any burst, exactly
``burst + rate × t`` requests pass. The daily quota counts per UTC day. The Lua function stands alone so that the
robots' route can take a token and queue an observation in one step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Counter

from core.problems import Problem
from core.redis import engine_redis, key

if TYPE_CHECKING:
    from accounts.credentials import Credential

# take(bucket key, quota key, rate, burst, quota) -> {allowed, limit, remaining, reset ms, retry after ms}
TAKE_TOKEN_LUA = """
local function take(bucket_key, quota_key, rate, burst, quota)
  if rate <= 0 and quota <= 0 then return {1, 0, 0, 0, 0} end
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  if quota > 0 then
    local day = math.floor(time[1] / 86400)
    local used = redis.call('HMGET', quota_key, 'day', 'used')
    local count = tonumber(used[1]) == day and tonumber(used[2]) or 0
    if count >= quota then
      return {0, quota, 0, 0, ((day + 1) * 86400 - time[1]) * 1000}
    end
    redis.call('HSET', quota_key, 'day', day, 'used', count + 1)
    redis.call('EXPIRE', quota_key, 172800)
    if rate <= 0 then return {1, quota, quota - count - 1, ((day + 1) * 86400 - time[1]) * 1000, 0} end
  end
  local bucket = redis.call('HMGET', bucket_key, 'tokens', 'at')
  local tokens = tonumber(bucket[1]) or burst
  local at = tonumber(bucket[2]) or now
  tokens = math.min(burst, tokens + math.max(0, now - at) * rate / 1000000)
  local allowed = 0
  local retry = 0
  if tokens >= 1 then
    tokens = tokens - 1
    allowed = 1
  else
    retry = math.ceil((1 - tokens) / rate * 1000)
    if quota > 0 then redis.call('HINCRBY', quota_key, 'used', -1) end
  end
  redis.call('HSET', bucket_key, 'tokens', string.format('%.6f', tokens), 'at', string.format('%.0f', now))
  redis.call('PEXPIRE', bucket_key, math.ceil(burst / rate * 1000) + 1000)
  return {allowed, burst, math.floor(tokens), math.ceil((burst - tokens) / rate * 1000), retry}
end
"""

_TAKE_ALONE = TAKE_TOKEN_LUA + "return take(KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))"

# By id as well: a rotated key keeps its name, and two keys may share one.
VIOLATIONS = Counter(
    "vla_rate_limit_violations_total", "Requests refused by a key's rate limit", ["key", "key_id", "tier"]
)


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What a bucket answered; ``reset_seconds`` until it is full, ``retry_after`` in seconds until a token is there."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float
    retry_after: float

    @classmethod
    def from_lua(cls, answer: list[int]) -> RateLimitState:
        allowed, limit, remaining, reset_ms, retry_ms = answer
        return cls(bool(allowed), limit, remaining, reset_ms / 1000, retry_ms / 1000)

    def headers(self) -> dict[str, str]:
        """The contract's headers; none for a key without limits."""
        if not self.limit:
            return {}
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset_seconds)),
        }


def bucket_arguments(credential: Credential) -> tuple[list[str], list[float]]:
    """The Lua function's keys and numbers for ``credential``; zero stands for no limit."""
    keys = [key("bucket", credential.key_id.hex), key("quota", credential.key_id.hex)]
    return keys, [credential.rate or 0, credential.burst or 0, credential.daily_quota or 0]


def refusal(credential: Credential, state: RateLimitState) -> Problem:
    """The 429 for ``state``; counts it."""
    VIOLATIONS.labels(key=credential.name, key_id=str(credential.key_id), tier=credential.tier).inc()
    return Problem(
        429,
        "rate_limited",
        f"The key's rate limit ({credential.tier}) is used up.",
        retry_after=max(state.retry_after, 0.001),
        headers=state.headers(),
    )


def take_token(credential: Credential) -> RateLimitState:
    """Take one token for ``credential``. Raises ``Problem`` 429; for threads."""
    keys, numbers = bucket_arguments(credential)
    answer = engine_redis().eval(_TAKE_ALONE, len(keys), *keys, *numbers)
    state = RateLimitState.from_lua(answer)
    if not state.allowed:
        raise refusal(credential, state)
    return state
