"""A laptop: `make run`, and `manage.py` beside it.

The launcher writes `VAR_DIR/run.env` with the addresses and secrets of the services that it started; whatever the
environment or `.env` already says wins.
"""

from __future__ import annotations

import os
from pathlib import Path

import environ

_root = Path(__file__).resolve().parent.parent.parent
environ.Env.read_env(_root / ".env")
environ.Env.read_env((_root / os.environ.get("VAR_DIR", "var")).resolve() / "run.env")

from .base import *  # noqa: E402

DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
WHITENOISE_USE_FINDERS = True  # static files from where they lie; nothing to collect on a laptop
STATIC_ROOT = None
