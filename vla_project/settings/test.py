"""Tests: the real PostgreSQL and Redis that tests/services.py starts, fast password hashing, no demo."""

from __future__ import annotations

from .base import *

SECRET_KEY = env.str("SECRET_KEY", default="test-" + "s3cr3t" * 8)
API_KEY_PEPPER = env.str("API_KEY_PEPPER", default="test-" + "p3pp3r" * 8)
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=["dGVzdC1rZXktdGVzdC1rZXktdGVzdC1rZXktMDAwMDA="])
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEMO = False
LOG_LEVEL = env.str("LOG_LEVEL", default="WARNING")
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True  # each test's client would list all static files anew
# Threads of a test keep no connection that would hinder the removal of its database.
DATABASES["default"]["CONN_MAX_AGE"] = 0
