"""Servers: everything that matters is named by the environment, and start-up stops at what is missing."""

from __future__ import annotations

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from core.object_encryption import check_keys
from core.proxies import networks

from .base import *

# Words of values that stand in somebody's example, our own ones included.
_PLACEHOLDERS = ("insecure", "change", "not-a-secret", "example", "s3cr3ts3cr3t", "p3pp3rp3pp3r", "your-")

for _name, _value in {
    "SECRET_KEY": SECRET_KEY,
    "API_KEY_PEPPER": API_KEY_PEPPER,
    "FIELD_ENCRYPTION_KEYS": FIELD_ENCRYPTION_KEYS,
    "DATABASE_URL": DATABASE_URL,
    "REDIS_URL": env.str("REDIS_URL", default=""),
    "S3_BUCKET": S3_BUCKET,
    "ALLOWED_HOSTS": ALLOWED_HOSTS,
}.items():
    if not _value:
        raise ImproperlyConfigured(f"{_name} is not set. Production needs it; docs/settings.md says what it is.")
for _name, _value in {"SECRET_KEY": SECRET_KEY, "API_KEY_PEPPER": API_KEY_PEPPER}.items():
    _plain = _value.lower()
    if len(_value) < 32 or len(set(_value)) < 8 or any(word in _plain for word in _PLACEHOLDERS):
        raise ImproperlyConfigured(f"{_name} is too short or a placeholder. Make one with: openssl rand -base64 48")
if SECRET_KEY == API_KEY_PEPPER:
    raise ImproperlyConfigured("SECRET_KEY and API_KEY_PEPPER are the same: whoever learns one would have both.")

for _key in FIELD_ENCRYPTION_KEYS:
    try:
        Fernet(_key)
    except ValueError:
        raise ImproperlyConfigured("FIELD_ENCRYPTION_KEYS has one that is no Fernet key. docs/settings.md.") from None
try:
    check_keys(OBJECT_ENCRYPTION_KEYS)
except ValueError as _error:
    raise ImproperlyConfigured(f"{_error} docs/settings.md.") from None
try:
    networks(tuple(TRUSTED_PROXIES))
except ValueError as _error:
    raise ImproperlyConfigured(f"TRUSTED_PROXIES: {_error}. They are networks, such as 10.0.0.0/8.") from None
if S3_SERVER_SIDE_ENCRYPTION not in ("", "AES256", "aws:kms", "bucket"):
    raise ImproperlyConfigured("S3_SERVER_SIDE_ENCRYPTION is none of AES256, aws:kms and bucket.")

HOST = env.str("HOST", default="0.0.0.0")
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 60 * 60 * 24 * 365
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
STAFF_SECOND_FACTOR_REQUIRED = env.bool("STAFF_SECOND_FACTOR_REQUIRED", default=True)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
STORAGES["staticfiles"] = {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
LOG_FORMAT = env.str("LOG_FORMAT", default="json")
DEMO = env.bool("DEMO", default=False)
