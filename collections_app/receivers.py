"""News of the apps below."""

from __future__ import annotations

from typing import Any

from accounts.models import ApiKey
from collections_app import services


def copy_grants(old: ApiKey, new: ApiKey, **_kwargs: Any) -> None:
    """A key's successor may be used where the key was."""
    for grant in old.grants.select_related("collection"):
        services.grant_api_key(api_key=new, collection=grant.collection)
