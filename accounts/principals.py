"""Who is calling: a person, or a service with an API key. Every permission rule takes one of these."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User


@dataclass(frozen=True, slots=True)
class Service:
    """A robot or program that presented an API key; it stands where Django expects a user."""

    key_id: uuid.UUID
    name: str
    scopes: frozenset[str]

    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False

    @property
    def pk(self) -> uuid.UUID:
        return self.key_id


Principal: TypeAlias = Union["User", "AnonymousUser", Service]
