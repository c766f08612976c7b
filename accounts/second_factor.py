"""One-time codes of an authenticator app (TOTP, RFC 6238: SHA-1, 30 s, 6 digits, which every app speaks)."""

from __future__ import annotations

import base64
import io
import secrets
import time
from urllib.parse import quote, urlencode

import segno
from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac
from django_otp.oath import hotp

from accounts.models import SecondFactor, User

STEP_SECONDS = 30
# One step either side: clocks differ, and people type.
TOLERANCE_STEPS = 1
RECOVERY_CODES = 10


def is_required(user: User) -> bool:
    """Whether ``user`` may not log in without a second factor: staff, where the installation says so."""
    return bool(settings.STAFF_SECOND_FACTOR_REQUIRED and user.is_staff)


def confirmed_factor(user: User) -> SecondFactor | None:
    """The factor that ``user`` must show at every log-in, if they have one."""
    return SecondFactor.objects.filter(user=user, confirmed_at__isnull=False).first()


def new_secret() -> str:
    """160 random bits in base 32, as an authenticator app takes them."""
    return base64.b32encode(secrets.token_bytes(20)).decode()


def matching_step(factor: SecondFactor, code: str) -> int | None:
    """The time step whose code is ``code``, later than the last accepted one; None where there is none."""
    digits = code.replace(" ", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) == 6):
        return None
    key = base64.b32decode(factor.secret)
    now = int(time.time()) // STEP_SECONDS
    for step in range(max(now - TOLERANCE_STEPS, factor.last_step + 1), now + TOLERANCE_STEPS + 1):
        if constant_time_compare(f"{hotp(key, step):06d}", digits):
            return step
    return None


def new_recovery_codes() -> list[str]:
    """Codes for the day the telephone is lost: 50 random bits each, in two groups."""
    texts = [base64.b32encode(secrets.token_bytes(7)).decode()[:10].lower() for _ in range(RECOVERY_CODES)]
    return [f"{text[:5]}-{text[5:]}" for text in texts]


def hash_recovery_code(code: str) -> str:
    """What the database keeps of a recovery code."""
    plain = code.replace("-", "").replace(" ", "").lower()
    return salted_hmac("accounts.recovery_code", plain, secret=settings.API_KEY_PEPPER, algorithm="sha256").hexdigest()


def provisioning_uri(factor: SecondFactor) -> str:
    """The ``otpauth:`` address that an authenticator app reads from a QR code."""
    label = quote(f"VLA Data Collection:{factor.user.get_username()}")
    return f"otpauth://totp/{label}?" + urlencode({"secret": factor.secret, "issuer": "VLA Data Collection"})


def qr_code_data_uri(uri: str) -> str:
    """``uri`` as a QR code: an SVG in a ``data:`` address, which the content security policy allows of images."""
    buffer = io.BytesIO()
    segno.make(uri, error="m").save(buffer, kind="svg", scale=5, border=4, light="#fff", dark="#000")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
