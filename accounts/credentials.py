"""API keys on the hot path: a token checked without the database.

A token is ``vla_<public id>_<secret>``. What PostgreSQL says of a key is kept as a snapshot in Redis, deleted whenever
the key, its tier or its grants change, and in each process for half a second: a revoked key stops everywhere within
one second, and a busy one costs a dictionary look-up.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import string
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings

from accounts.models import ApiKey
from accounts.principals import Service
from core.problems import Problem, unauthenticated
from core.redis import UNAVAILABLE, engine_redis, key

_TOKEN = re.compile(r"vla_([A-Za-z0-9]{8,16})_([A-Za-z0-9_-]{32,64})")
_ALPHABET = string.ascii_letters + string.digits
_SNAPSHOT_SECONDS = 300
_UNKNOWN = b"unknown"
# Stands in a snapshot's place after a change, so that a reader who asked the database before it writes nothing old.
_CHANGED = b"changed"
_CHANGED_SECONDS = 10
_NOTE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Credential:
    """What must be known of a key to serve a request: the snapshot of one row, its tier and its grants.

    ``expires_at`` is in Unix seconds; ``rate`` per second; None is no limit.
    """

    key_id: uuid.UUID
    name: str
    secret_hash: str
    scopes: frozenset[str]
    collection_ids: frozenset[uuid.UUID]
    tier: str
    rate: float | None
    burst: int | None
    daily_quota: int | None
    allowed_networks: tuple[str, ...]
    expires_at: float | None

    def service(self) -> Service:
        return Service(self.key_id, self.name, self.scopes)


def generate_token() -> tuple[str, str, str]:
    """A new ``(public_id, secret, token)``: 48 bits that name the key, 256 that prove it."""
    public_id = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    secret = secrets.token_urlsafe(32)
    return public_id, secret, f"vla_{public_id}_{secret}"


def hash_secret(secret: str) -> str:
    """HMAC-SHA256 under the pepper, in hexadecimal: what the database keeps of a secret."""
    return hmac.digest(settings.API_KEY_PEPPER.encode(), secret.encode(), "sha256").hex()


def forget(public_id: str) -> None:
    """Drop the shared snapshot of a key; call it when the key, its tier or its grants have changed and committed."""
    engine_redis().set(_snapshot_key(public_id), _CHANGED, ex=_CHANGED_SECONDS)
    _local.pop(public_id, None)


def authenticate(token: str, *, ip_address: str | None) -> Credential:
    """The credential that ``token`` proves. Raises ``Problem`` 401; for threads."""
    public_id, secret = _split(token)
    known = _fresh(public_id)
    if known is None:
        known = _remember(public_id, _read_through(public_id))
    credential = _checked(known, secret, ip_address, public_id)
    if _use_is_worth_noting(public_id):
        with suppress(*UNAVAILABLE):
            engine_redis().hset(_uses_key(), public_id, int(time.time()))
    return credential


async def authenticate_async(token: str, *, ip_address: str | None, redis_client: Any) -> Credential:
    """``authenticate`` for the event loop: asks the database, in a thread, only when Redis does not know the key."""
    public_id, secret = _split(token)
    known = _fresh(public_id)
    if known is None:
        stored = await redis_client.get(_snapshot_key(public_id))
        if stored is None or stored == _CHANGED:
            known = _remember(public_id, await database_sync_to_async(_read_through)(public_id))
        else:
            known = _remember(public_id, _decode(stored))
    credential = _checked(known, secret, ip_address, public_id)
    if _use_is_worth_noting(public_id):
        with suppress(*UNAVAILABLE):
            await redis_client.hset(_uses_key(), public_id, int(time.time()))
    return credential


def take_noted_uses() -> dict[str, datetime]:
    """When keys were last used, by public id, as noted since the last call; each process notes a key once a minute."""
    with engine_redis().pipeline(transaction=True) as pipe:
        pipe.hgetall(_uses_key())
        pipe.delete(_uses_key())
        noted, _deleted = pipe.execute()
    return {public_id.decode(): datetime.fromtimestamp(int(at), UTC) for public_id, at in noted.items()}


# --- snapshots -----------------------------------------------------------------------------------------------------

_local: dict[str, tuple[float, Credential | None]] = {}
# The last proof of each key that this process accepted: spares a repeated token the HMAC.
_proofs: dict[str, tuple[str, str]] = {}
# When this process last noted each key's use, on the monotonic clock.
_noted: dict[str, float] = {}


def _fresh(public_id: str) -> Credential | bool | None:
    """The process's own snapshot: a credential, False for a key known not to exist, None when it must be looked up."""
    entry = _local.get(public_id)
    if entry is None or entry[0] < time.monotonic():
        return None
    return entry[1] if entry[1] is not None else False


def _remember(public_id: str, credential: Credential | None) -> Credential | bool:
    if len(_local) > 10_000:
        _local.clear()
        _proofs.clear()
        _noted.clear()
    _local[public_id] = (time.monotonic() + settings.INFERENCE["SETTINGS_CACHE_SECONDS"], credential)
    return credential if credential is not None else False


def _read_through(public_id: str) -> Credential | None:
    """From Redis, or from the database into Redis. Without Redis, from the database."""
    client = engine_redis()
    try:
        stored = client.get(_snapshot_key(public_id))
    except UNAVAILABLE:
        return _from_database(public_id)
    if stored is not None and stored != _CHANGED:
        return _decode(stored)
    credential = _from_database(public_id)
    with suppress(*UNAVAILABLE):
        client.set(_snapshot_key(public_id), _encode(credential), ex=_SNAPSHOT_SECONDS if credential else 5, nx=True)
    return credential


def _from_database(public_id: str) -> Credential | None:
    api_key = ApiKey.objects.usable().select_related("tier").filter(public_id=public_id).first()
    if api_key is None:
        return None
    return Credential(
        key_id=api_key.pk,
        name=api_key.name,
        secret_hash=api_key.secret_hash,
        scopes=frozenset(api_key.scopes),
        collection_ids=frozenset(api_key.grants.values_list("collection_id", flat=True)),
        tier=api_key.tier.name,
        rate=api_key.tier.rate,
        burst=api_key.tier.burst,
        daily_quota=api_key.tier.daily_quota,
        allowed_networks=tuple(api_key.allowed_networks),
        expires_at=api_key.expires_at.timestamp() if api_key.expires_at else None,
    )


def _encode(credential: Credential | None) -> bytes:
    if credential is None:
        return _UNKNOWN
    values: dict[str, Any] = {name: getattr(credential, name) for name in Credential.__slots__}
    values["scopes"] = sorted(credential.scopes)
    values["collection_ids"] = sorted(str(c) for c in credential.collection_ids)
    return orjson.dumps(values)


def _decode(stored: bytes) -> Credential | None:
    if stored == _UNKNOWN:
        return None
    values = orjson.loads(stored)
    values["key_id"] = uuid.UUID(values["key_id"])
    values["scopes"] = frozenset(values["scopes"])
    values["collection_ids"] = frozenset(uuid.UUID(c) for c in values["collection_ids"])
    values["allowed_networks"] = tuple(values["allowed_networks"])
    return Credential(**values)


def _use_is_worth_noting(public_id: str) -> bool:
    """Whether a minute has passed since the last note; says so once."""
    now = time.monotonic()
    if now - _noted.get(public_id, -_NOTE_SECONDS) < _NOTE_SECONDS:
        return False
    _noted[public_id] = now
    return True


def _uses_key() -> str:
    return key("apikeys", "used")


def _snapshot_key(public_id: str) -> str:
    return key("apikey", public_id)


# --- proof -----------------------------------------------------------------------------------------------------------


def _split(token: str) -> tuple[str, str]:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise unauthenticated("This is not an API key.")
    return match[1], match[2]


def _checked(known: Credential | bool, secret: str, ip_address: str | None, public_id: str) -> Credential:
    if not isinstance(known, Credential) or not _proves(public_id, secret, known.secret_hash):
        raise unauthenticated("The API key is unknown, revoked or expired.")
    if known.expires_at is not None and known.expires_at <= time.time():
        raise unauthenticated("The API key is unknown, revoked or expired.")
    if known.allowed_networks and not _in_networks(ip_address, known.allowed_networks):
        raise Problem(403, "network_not_allowed", "The API key may not be used from this address.")
    return known


def _proves(public_id: str, secret: str, secret_hash: str) -> bool:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if _proofs.get(public_id) == (digest, secret_hash):
        return True
    if not hmac.compare_digest(hash_secret(secret), secret_hash):
        return False
    _proofs[public_id] = (digest, secret_hash)
    return True


def _in_networks(ip_address: str | None, networks: tuple[str, ...]) -> bool:
    if not ip_address:
        return False
    address = ipaddress.ip_address(ip_address)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network, strict=False) for network in networks)
