"""Changing people, their ways in, keys and tiers: validated, atomic, audited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypedDict

from django.contrib.auth import authenticate
from django.contrib.auth.models import Permission as DjangoPermission
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import audit, credentials, lockout, second_factor, tokens
from accounts.choices import RevocationReason
from accounts.models import ApiKey, RateLimitTier, SecondFactor, User
from accounts.signals import api_key_rotated
from core.fields import EncryptedTextField
from core.problems import Problem, forbidden, unauthenticated

# What decides over somebody's power: nobody sets it for themselves, and only superusers set it at all.
PRIVILEGES = frozenset({"is_superuser", "is_staff", "user_permissions"})


class ApiKeyChanges(TypedDict, total=False):
    name: str
    scopes: list[str]
    tier: RateLimitTier
    allowed_networks: list[str]
    expires_at: datetime | None


class UserChanges(TypedDict, total=False):
    username: str
    first_name: str
    last_name: str
    email: str
    is_active: bool
    is_staff: bool
    is_superuser: bool
    user_permissions: Sequence[DjangoPermission]


class TierChanges(TypedDict, total=False):
    rate: float | None
    burst: int | None
    daily_quota: int | None


# --- API keys --------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_api_key(
    *,
    name: str,
    scopes: Sequence[str],
    tier: RateLimitTier,
    allowed_networks: Sequence[str] = (),
    expires_at: datetime | None = None,
    created_by: User | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its token; the token is stored nowhere and cannot be shown again. Raises ``ValidationError``."""
    public_id, secret, token = credentials.generate_token()
    api_key = ApiKey(
        name=name,
        public_id=public_id,
        secret_hash=credentials.hash_secret(secret),
        scopes=list(scopes),
        tier=tier,
        allowed_networks=list(allowed_networks),
        expires_at=expires_at,
        created_by=created_by,
    )
    api_key.full_clean()
    api_key.save(force_insert=True)
    audit.record("api_key.created", api_key, changes=audit.difference({}, _visible(api_key)))
    return api_key, token


@transaction.atomic
def update_api_key(*, api_key: ApiKey, changes: ApiKeyChanges) -> ApiKey:
    """Apply ``changes``; they hold everywhere within a second. Raises ``ValidationError``."""
    api_key = ApiKey.objects.select_for_update(of=("self",)).select_related("tier").get(pk=api_key.pk)
    difference = _apply(api_key, changes)
    if difference:
        audit.record("api_key.updated", api_key, changes=difference)
        _forget_after_commit(api_key)
    return api_key


@transaction.atomic
def rotate_api_key(*, api_key: ApiKey, overlap: timedelta) -> tuple[ApiKey, str]:
    """A new key with the old one's rights; the old one goes on for ``overlap``, so that robots can be changed over.

    Raises ``ValidationError`` where the key is revoked or expired already.
    """
    old = ApiKey.objects.usable().select_for_update(of=("self",)).select_related("tier").filter(pk=api_key.pk).first()
    if old is None:
        raise ValidationError(_("A key that is revoked or expired cannot be rotated."))
    new, token = create_api_key(
        name=old.name,
        scopes=old.scopes,
        tier=old.tier,
        allowed_networks=old.allowed_networks,
        expires_at=old.expires_at,
        created_by=old.created_by,
    )
    api_key_rotated.send(ApiKey, old=old, new=new)
    end = timezone.now() + overlap
    before = old.expires_at
    old.expires_at = min(before, end) if before else end
    old.save(update_fields=["expires_at"])
    audit.record(
        "api_key.rotated", old, changes={"expires_at": [before, old.expires_at], "replaced_by": [None, new.pk]}
    )
    _forget_after_commit(old)
    return new, token


@transaction.atomic
def revoke_api_key(*, api_key: ApiKey) -> ApiKey:
    """End a key everywhere within a second. Revoking it again changes nothing, but tells every process again."""
    api_key = ApiKey.objects.select_for_update().get(pk=api_key.pk)
    if api_key.revoked_at is None:
        api_key.revoked_at = timezone.now()
        api_key.save(update_fields=["revoked_at"])
        audit.record("api_key.revoked", api_key, changes={"revoked_at": [None, api_key.revoked_at]})
    _forget_after_commit(api_key)
    return api_key


@transaction.atomic
def create_tier(*, name: str, **values: Any) -> RateLimitTier:
    """Create a tier; ``values`` are those of ``TierChanges``. Raises ``ValidationError``."""
    tier = RateLimitTier(name=name, **values)
    tier.full_clean()
    tier.save(force_insert=True)
    audit.record("tier.created", tier, changes=audit.difference({}, values))
    return tier


@transaction.atomic
def update_tier(*, tier: RateLimitTier, changes: TierChanges) -> RateLimitTier:
    """Change a tier's limits for all of its keys. Raises ``ValidationError``."""
    tier = RateLimitTier.objects.select_for_update().get(pk=tier.pk)
    difference = _apply(tier, changes)
    if difference:
        audit.record("tier.updated", tier, changes=difference)
        for api_key in tier.keys.usable():
            _forget_after_commit(api_key)
    return tier


def _forget_after_commit(api_key: ApiKey) -> None:
    transaction.on_commit(partial(credentials.forget, api_key.public_id))


def _visible(api_key: ApiKey) -> dict[str, Any]:
    return {
        "name": api_key.name,
        "scopes": api_key.scopes,
        "tier": api_key.tier_id,
        "allowed_networks": api_key.allowed_networks,
        "expires_at": api_key.expires_at,
    }


# --- logging in ------------------------------------------------------------------------------------------------------


def check_password(*, request: HttpRequest, username: str, password: str, ip_address: str | None) -> User:
    """Whose name and password these are. Raises ``Problem`` 401, 429 after too many attempts, 503 without Redis.

    Who has a second factor is not logged in yet: see ``check_code``.
    """
    lockout.count_attempt(account=username, ip_address=ip_address)
    user = authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        raise unauthenticated("The name or the password is wrong.")
    lockout.forget_attempts(account=username, ip_address=ip_address)
    return user


def check_old_password(*, user: User, password: str, ip_address: str | None) -> None:
    """That somebody who is logged in knows their password. Raises ``Problem`` as ``check_password`` does."""
    account = f"old password of {user.pk}"
    lockout.count_attempt(account=account, ip_address=ip_address)
    if not user.check_password(password):
        audit.record("user.login_failed", user)
        raise unauthenticated("The old password is wrong.")
    lockout.forget_attempts(account=account, ip_address=ip_address)


def check_code(*, user: User, code: str, ip_address: str | None) -> None:
    """Use up a one-time or a recovery code of ``user``. Raises ``Problem`` 401, 429 and 503 as ``check_password``."""
    account = f"second factor of {user.pk}"
    lockout.count_attempt(account=account, ip_address=ip_address)
    with transaction.atomic():
        factor = SecondFactor.objects.select_for_update().filter(user=user, confirmed_at__isnull=False).first()
        used = factor is not None and _use_code(factor, code)
    if not used:
        raise unauthenticated("The code is wrong, or was used already.")
    lockout.forget_attempts(account=account, ip_address=ip_address)


def issue_tokens(
    *, request: HttpRequest, username: str, password: str, code: str, ip_address: str | None
) -> tokens.TokenPair:
    """A pair of tokens for a person's name, password and, where they have a second factor, code.

    Raises ``Problem``: those of the two checks, 401 ``code_required`` and 403 ``second_factor_required``.
    """
    user = check_password(request=request, username=username, password=password, ip_address=ip_address)
    if second_factor.confirmed_factor(user):
        if not code:
            raise Problem(401, "code_required", "Send the authenticator app's code too, as `code`.")
        check_code(user=user, code=code, ip_address=ip_address)
    elif second_factor.is_required(user):
        raise Problem(403, "second_factor_required", "Staff set up a second factor first: log in with a browser.")
    return tokens.issue(user=user, ip_address=ip_address)


@transaction.atomic
def log_out_everywhere(*, user: User, reason: RevocationReason = RevocationReason.EVERYWHERE) -> None:
    """End every browser session and every token of ``user``."""
    User.objects.filter(pk=user.pk).update(sessions_epoch=models.F("sessions_epoch") + 1)
    tokens.revoke_all(user=user, reason=reason)
    audit.record("user.logged_out_everywhere", user, changes={"reason": [None, reason]})


# --- second factor ---------------------------------------------------------------------------------------------------


@transaction.atomic
def begin_second_factor(*, user: User) -> SecondFactor:
    """A secret for ``user``'s authenticator app: the one that they have not confirmed yet, or a new one.

    Raises ``ValidationError`` where they have a confirmed factor: it is removed first, with its code.
    """
    factor, _created = SecondFactor.objects.select_for_update().get_or_create(
        user=user, defaults={"secret": second_factor.new_secret()}
    )
    if factor.confirmed_at is not None:
        raise ValidationError(_("This account has a second factor already."))
    return factor


def confirm_second_factor(*, user: User, code: str, ip_address: str | None) -> list[str]:
    """Put the begun factor to work, proved by its first code. Returns the recovery codes, which are shown once.

    Raises ``Problem`` 401, 429 and 503 as ``check_password``.
    """
    lockout.count_attempt(account=f"second factor of {user.pk}", ip_address=ip_address)
    with transaction.atomic():
        factor = SecondFactor.objects.select_for_update().get(user=user, confirmed_at=None)
        step = second_factor.matching_step(factor, code)
        if step is None:
            raise unauthenticated("The code is wrong. Is the clock of your device right?")
        recovery_codes = second_factor.new_recovery_codes()
        factor.last_step = step
        factor.confirmed_at = timezone.now()
        factor.recovery_hashes = [second_factor.hash_recovery_code(text) for text in recovery_codes]
        factor.save()
        audit.record("second_factor.confirmed", factor, actor=user)
    lockout.forget_attempts(account=f"second factor of {user.pk}", ip_address=ip_address)
    return recovery_codes


@transaction.atomic
def remove_second_factor(*, user: User) -> None:
    """For somebody who has lost device and recovery codes; ends every session and token of theirs."""
    factor = SecondFactor.objects.filter(user=user).first()
    if factor is not None:
        audit.record("second_factor.removed", factor)
        factor.delete()
        log_out_everywhere(user=user, reason=RevocationReason.ACCOUNT)


def _use_code(factor: SecondFactor, code: str) -> bool:
    step = second_factor.matching_step(factor, code)
    if step is not None:
        factor.last_step = step
        factor.save(update_fields=["last_step"])
        return True
    hashed = second_factor.hash_recovery_code(code)
    if hashed not in factor.recovery_hashes:
        return False
    factor.recovery_hashes.remove(hashed)
    factor.save(update_fields=["recovery_hashes"])
    audit.record("second_factor.recovery_code_used", factor, actor=factor.user)
    return True


# --- people ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_user(*, username: str, password: str, by: User | None = None, **values: Any) -> User:
    """Create a person; ``values`` are those of ``UserChanges``. ``password`` has passed Django's validators.

    Raises ``ValidationError``, and ``Problem`` 403 where ``by`` may not give the privileges among ``values``.
    """
    _check_privileges(by, target=None, changes=values)
    permissions = values.pop("user_permissions", ())
    user = User(username=username, **values)
    user.set_password(password)
    user.full_clean()
    user.save(force_insert=True)
    user.user_permissions.set(permissions)
    given = {"username": username, **values, "user_permissions": _names(permissions)}
    audit.record("user.created", user, changes=_masked(user, audit.difference({}, given)))
    return user


@transaction.atomic
def update_user(*, user: User, changes: UserChanges, by: User | None = None) -> User:
    """Apply ``changes``. Who gained or lost power, or was switched off, starts anew: sessions and tokens end.

    Raises ``ValidationError``, and ``Problem`` 403 where ``by`` may not.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    _check_privileges(by, target=user, changes=changes)
    difference = _apply(user, {name: value for name, value in changes.items() if name != "user_permissions"})
    if "user_permissions" in changes:
        before = _names(user.user_permissions.all())
        user.user_permissions.set(changes["user_permissions"])
        difference |= audit.difference(
            {"user_permissions": before}, {"user_permissions": _names(changes["user_permissions"])}
        )
    if difference:
        audit.record("user.updated", user, changes=difference)
    if not difference.keys().isdisjoint(PRIVILEGES | {"is_active"}):
        log_out_everywhere(user=user, reason=RevocationReason.ACCOUNT)
    return user


@transaction.atomic
def set_password(*, user: User, password: str) -> None:
    """Set a password that has passed Django's validators, and end every session and token of ``user``."""
    user.set_password(password)
    user.save(update_fields=["password"])
    audit.record("user.password_changed", user)
    log_out_everywhere(user=user, reason=RevocationReason.ACCOUNT)


def _check_privileges(by: User | None, *, target: User | None, changes: Mapping[str, Any]) -> None:
    """Only superusers give or take power, and only they touch somebody who has all of it; commands (None) may."""
    if by is None or by.is_superuser:
        return
    given = {name for name in PRIVILEGES & changes.keys() if target is not None or changes[name]}
    if given or (target is not None and target.is_superuser):
        raise forbidden("Only a superuser may change who is staff, superuser or in which group.")


def _names(members: Iterable[models.Model]) -> list[str]:
    return sorted(str(member) for member in members)


def _masked(instance: models.Model, difference: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """``difference`` without the values of encrypted fields: the trail says that they changed, not to what."""
    secret = {field.name for field in instance._meta.fields if isinstance(field, EncryptedTextField)}
    return {name: ["[encrypted]"] * 2 if name in secret else values for name, values in difference.items()}


def _apply(instance: models.Model, changes: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Set, validate and save ``changes``; returns what differs, ``{field: [before, after]}``."""
    difference = audit.difference({name: getattr(instance, name) for name in changes}, changes)
    if difference:
        for name in difference:
            setattr(instance, name, changes[name])
        instance.full_clean()
        instance.save(update_fields=list(difference))
    return _masked(instance, difference)
