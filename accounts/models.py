"""Users and their ways in, API keys with their rate-limit tiers, and the audit trail."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from accounts.choices import SCOPES, RevocationReason
from accounts.querysets import ApiKeyQuerySet, AuditLogQuerySet, TokenFamilyQuerySet
from accounts.validators import validate_networks
from core.fields import EncryptedEmailField, EncryptedTextField
from core.identifiers import uuid7


class User(AbstractUser):
    """A person. Identified by a UUID, so that the audit trail names people without counting them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = EncryptedEmailField(_("email address"), blank=True)
    sessions_epoch = models.PositiveIntegerField(
        default=0, editable=False, help_text=_("Raised by 'log out everywhere': sessions of an earlier epoch are over.")
    )

    class Meta(AbstractUser.Meta):
        db_table = "users"

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Django's own, which changes with the password, and with the epoch too."""
        salt = f"accounts.User.session:{self.sessions_epoch}"
        return salted_hmac(salt, self.password, secret=secret, algorithm="sha256").hexdigest()


class SecondFactor(models.Model):
    """A person's authenticator app (TOTP, RFC 6238) with recovery codes. Asked for at every log-in once confirmed."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="second_factor")
    secret = EncryptedTextField(help_text=_("Base32, 160 bits."))
    last_step = models.BigIntegerField(
        default=0, help_text=_("The time step of the last accepted code: none works twice.")
    )
    recovery_hashes = ArrayField(models.CharField(max_length=64), default=list, help_text=_("Unused ones, hashed."))
    confirmed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "second_factors"

    def __str__(self) -> str:
        return f"second factor of {self.user}"


class TokenFamily(models.Model):
    """One log-in of a person's script or dashboard: the chain of refresh tokens that descend from one password.

    Only the newest refresh token works. An older one shown again means that it was stolen, by whoever shows it or from
    them: the family ends. Redis answers whether a family is over; this table is the truth that it is filled from.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="token_families")
    refresh_jti = models.CharField(max_length=32, help_text=_("The id of the one refresh token that works."))
    session_hash = models.CharField(
        max_length=64, help_text=_("Of the password and the epoch when it began: it ends when either changes.")
    )
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(help_text=_("When its newest refresh token expires."))
    revoked_at = models.DateTimeField(null=True, blank=True)
    revocation_reason = models.CharField(max_length=16, choices=RevocationReason, blank=True)

    objects = TokenFamilyQuerySet.as_manager()

    class Meta:
        db_table = "token_families"
        verbose_name_plural = _("token families")
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="token_family_revoked_for_a_reason",
                condition=Q(revoked_at__isnull=True, revocation_reason="")
                | Q(revoked_at__isnull=False, revocation_reason__in=RevocationReason.values),
            )
        ]
        indexes = [
            models.Index(fields=["user", "-created_at"], name="token_family_user"),
            models.Index(fields=["expires_at"], name="token_family_expiry"),
        ]

    def __str__(self) -> str:
        return f"tokens of {self.user}"


class RateLimitTier(models.Model):
    """How much a key may ask: a token bucket of ``burst`` that refills at ``rate`` per second, and a daily quota.

    An empty rate is no limit; an empty quota is none.
    """

    name = models.SlugField(primary_key=True, max_length=32)
    rate = models.FloatField(_("requests per second"), null=True, blank=True)
    burst = models.PositiveIntegerField(null=True, blank=True)
    daily_quota = models.PositiveBigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "rate_limit_tiers"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="rate_limit_tier_rate_and_burst_together",
                condition=Q(rate__isnull=True, burst__isnull=True) | Q(rate__gt=0, burst__gt=0),
                violation_error_message=_("Give both a rate and a burst above zero, or neither."),
            )
        ]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A robot's or service's credential, ``vla_<public id>_<secret>``; only a keyed hash of the secret is stored."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=16, unique=True, editable=False)
    secret_hash = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(models.CharField(max_length=32, choices=[(s.value, s.label) for s in SCOPES]))
    tier = models.ForeignKey(RateLimitTier, on_delete=models.PROTECT, default="standard", related_name="keys")
    allowed_networks = ArrayField(
        models.CharField(max_length=49),
        default=list,
        blank=True,
        validators=[validate_networks],
        help_text=_("CIDR; none means anywhere."),
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        db_table = "api_keys"
        verbose_name = _("API key")
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="api_key_scopes_known",
                condition=Q(scopes__contained_by=[s.value for s in SCOPES]) & ~Q(scopes=[]),
                violation_error_message=_("Give at least one scope, each a known one."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} (vla_{self.public_id}_…)"


class AuditLog(models.Model):
    """One thing that somebody did. Rows are appended, never changed: a trigger sees to it.

    The names of the actor and the resource are kept as text, so that they outlive both.
    """

    id = models.BigAutoField(primary_key=True)
    action = models.CharField(max_length=64)
    actor_id = models.UUIDField(null=True, blank=True)
    actor_name = models.CharField(max_length=150, blank=True)
    resource_type = models.CharField(max_length=64)
    resource_id = models.UUIDField(null=True, blank=True)
    resource_name = models.CharField(max_length=255, blank=True)
    collection_id = models.UUIDField(null=True, blank=True)
    changes = models.JSONField(default=dict)
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    timestamp = models.DateTimeField()
    signature = models.BinaryField(
        max_length=32, help_text=_("HMAC of the row's content under a key that the database does not hold.")
    )
    previous_hash = models.BinaryField(max_length=32, help_text=_("Set by the database: the hash of the row before."))
    hash = models.BinaryField(
        max_length=32, help_text=_("Set by the database: SHA-256 over this row and the hash before.")
    )

    objects = AuditLogQuerySet.as_manager()

    class Meta:
        db_table = "audit_logs"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["resource_type", "resource_id", "-id"], name="audit_resource"),
            models.Index(fields=["actor_id", "-id"], name="audit_actor"),
            models.Index(fields=["collection_id", "-id"], name="audit_collection"),
            models.Index(fields=["action", "-id"], name="audit_action"),
            models.Index(fields=["timestamp"], name="audit_timestamp"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.resource_type} {self.resource_name}".strip()


class AuditHead(models.Model):
    """Which entry the application appended last, one row, with a proof: the last entry cannot be removed unseen."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    entry_id = models.BigIntegerField(help_text=_("The id of the last entry."))
    entry_signature = models.BinaryField(max_length=32, help_text=_("The signature of the last entry."))
    proof = models.BinaryField(max_length=32, help_text=_("HMAC of both under a key that the database does not hold."))

    class Meta:
        db_table = "audit_head"
        constraints = [models.CheckConstraint(name="audit_head_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return "head of the audit trail"
