"""Secrets of an installation: made once, kept in ``VAR_DIR/secrets.env``."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from vla_project.launcher.environment import as_env_file, read_env_file
from vla_project.launcher.private_file import write_private


def generated_secrets(var_dir: Path) -> dict[str, str]:
    """``SECRET_KEY``, ``API_KEY_PEPPER`` and ``FIELD_ENCRYPTION_KEYS``; the same ones at every call.

    Losing the file makes every API key and every encrypted field unreadable, so it is never overwritten.
    """
    path = var_dir / "secrets.env"
    known = read_env_file(path)
    made = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "API_KEY_PEPPER": secrets.token_urlsafe(48),
        "FIELD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),  # a Fernet key
    }
    if made.keys() <= known.keys():
        return known
    values = {**made, **known}
    write_private(path, as_env_file(values))
    return values
