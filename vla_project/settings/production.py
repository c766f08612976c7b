"""Servers: everything that matters is named by the environment, and start-up stops at what is missing."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from .base import *

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
    if len(_value) < 32 or len(set(_value)) < 8 or "insecure" in _value or "change" in _value:
        raise ImproperlyConfigured(f"{_name} is too short or a placeholder. Make one with: openssl rand -base64 48")

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
