"""JWT pairs for people's scripts and dashboards: issued, rotated, revoked.

Every token names its family (claim ``fam``, a ``TokenFamily``); revoking the family puts the refresh token and its
access token on the blacklist together. Access tokens are looked up in Redis at every request. A Redis that has lost
the list, or was flushed, is filled again from PostgreSQL; while Redis is away PostgreSQL answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import RefreshToken, Token

from accounts import audit
from accounts.choices import RevocationReason
from accounts.models import TokenFamily, User
from core.problems import Problem, unauthenticated
from core.redis import UNAVAILABLE, engine_redis, key

FAMILY_CLAIM = "fam"


@dataclass(frozen=True, slots=True)
class TokenPair:
    access: str
    refresh: str


@transaction.atomic
def issue(*, user: User, ip_address: str | None) -> TokenPair:
    """Begin a family for ``user``, whose password and code have been checked."""
    refresh = RefreshToken.for_user(user)
    family = TokenFamily.objects.create(
        user=user,
        refresh_jti=refresh["jti"],
        session_hash=user.get_session_auth_hash(),
        ip_address=ip_address,
        expires_at=timezone.now() + api_settings.REFRESH_TOKEN_LIFETIME,
    )
    refresh[FAMILY_CLAIM] = str(family.pk)
    audit.record("token.issued", user, actor=user, changes={"family": [None, family.pk]})
    return TokenPair(str(refresh.access_token), str(refresh))


def rotate(*, refresh: str) -> TokenPair:
    """A new pair for the newest refresh token of a family, which then no longer works.

    Raises ``Problem`` 401 where it is none; where it is an older one of the family, the family ends as well.
    """
    token = _decode(refresh)
    with transaction.atomic():
        family = TokenFamily.objects.select_for_update(of=("self",)).select_related("user").get(pk=token[FAMILY_CLAIM])
        fault = _fault(family, token)
        if fault:
            _revoke([family], fault)
        elif family.revoked_at is None and family.user.is_active:
            return _next_pair(family)
    raise unauthenticated("The refresh token was used before, or revoked.")


def revoke(*, family_id: uuid.UUID | str, reason: RevocationReason) -> None:
    """End one family; again is no error."""
    with transaction.atomic():
        families = TokenFamily.objects.select_for_update(of=("self",)).select_related("user").filter(pk=family_id)
        _revoke(families, reason)


def revoke_all(*, user: User, reason: RevocationReason) -> None:
    """End every family of ``user``."""
    with transaction.atomic():
        _revoke(TokenFamily.objects.select_for_update(of=("self",)).select_related("user").filter(user=user), reason)


def family_of(refresh: str) -> TokenFamily:
    """The family of a genuine refresh token, revoked or not. Raises ``Problem`` 401."""
    return TokenFamily.objects.select_related("user").get(pk=_decode(refresh)[FAMILY_CLAIM])


def is_revoked(payload: Mapping[str, Any]) -> bool:
    """Whether the family of a token's ``payload`` is over; for threads."""
    family = payload.get(FAMILY_CLAIM)
    if family is None:
        return True
    try:
        filled, revoked = engine_redis().mget(_filled_key(), _revoked_key(family))
        if filled is None:
            _fill()
            revoked = engine_redis().get(_revoked_key(family))
    except UNAVAILABLE:
        return not TokenFamily.objects.alive().filter(pk=family).exists()
    return revoked is not None


def _decode(refresh: str) -> Token:
    try:
        token = RefreshToken(refresh)  # type: ignore[arg-type]
        if TokenFamily.objects.filter(pk=token[FAMILY_CLAIM]).exists():
            return token
    except (TokenError, KeyError):
        pass
    raise unauthenticated("This is not a refresh token of ours, or it has expired.")


def _fault(family: TokenFamily, token: Token) -> RevocationReason | None:
    """Why a family that is still alive must end now; None where it may go on."""
    if family.revoked_at is not None:
        return None
    if not constant_time_compare(family.session_hash, family.user.get_session_auth_hash()):
        return RevocationReason.ACCOUNT
    if not constant_time_compare(family.refresh_jti, token["jti"]):
        return RevocationReason.REUSE
    return None


def _next_pair(family: TokenFamily) -> TokenPair:
    refresh = RefreshToken.for_user(family.user)
    refresh[FAMILY_CLAIM] = str(family.pk)
    family.refresh_jti = refresh["jti"]
    family.expires_at = timezone.now() + api_settings.REFRESH_TOKEN_LIFETIME
    family.save(update_fields=["refresh_jti", "expires_at"])
    return TokenPair(str(refresh.access_token), str(refresh))


def _revoke(families: Iterable[TokenFamily], reason: RevocationReason) -> None:
    """Mark what is alive, and tell Redis of all: of those revoked before too, should it have been away then."""
    families = list(families)
    for family in families:
        if family.revoked_at is None:
            family.revoked_at, family.revocation_reason = timezone.now(), reason
            family.save(update_fields=["revoked_at", "revocation_reason"])
            audit.record("token.revoked", family.user, changes={"family": [family.pk, None], "reason": [None, reason]})
    transaction.on_commit(partial(_blacklist, families))


# --- the blacklist in Redis ----------------------------------------------------------------------------------------


def _blacklist(families: Iterable[TokenFamily]) -> None:
    try:
        with engine_redis().pipeline(transaction=False) as pipe:
            for family in families:
                pipe.set(_revoked_key(family.pk), 1, exat=int(family.expires_at.timestamp()) + 1)
            pipe.execute()
    except UNAVAILABLE:
        raise Problem(503, "unavailable", "Logged out, but not yet everywhere. Try again.", retry_after=2) from None


def _fill() -> None:
    """Redis has no list: write it from the truth. Revocations meanwhile write themselves."""
    _blacklist(TokenFamily.objects.revoked_and_remembered().iterator())
    engine_redis().set(_filled_key(), 1)


def _revoked_key(family: uuid.UUID | str) -> str:
    return key("revoked", family)


def _filled_key() -> str:
    return key("revoked", "filled")
