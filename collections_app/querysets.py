"""The one rule of who may do what: every queryset of a collection's things asks ``restrict``."""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

from django.db import models

from accounts.choices import Permission, roles_with
from accounts.principals import Principal, Service


class CollectionQuerySet(models.QuerySet):
    def restrict(self, principal: Principal, permission: Permission = Permission.DATA_READ) -> Self:
        """The collections on which ``principal`` holds ``permission``.

        Superusers hold every permission everywhere; a person holds what the role of a membership gives; a service
        holds its key's scopes on the collections that the key was granted; anybody else holds nothing.
        """
        if isinstance(principal, Service):
            if permission not in principal.scopes:
                return self.none()
            return self.filter(key_grants__api_key=principal.key_id)
        if not principal.is_authenticated or not principal.is_active:
            return self.none()
        if principal.is_superuser:
            return self
        return self.filter(memberships__user=principal, memberships__role__in=roles_with(permission))

    def visible_to(self, principal: Principal) -> Self:
        """The collections on which ``principal`` holds any permission: those whose existence is no secret to them."""
        if isinstance(principal, Service):
            return self.filter(key_grants__api_key=principal.key_id)
        if not principal.is_authenticated or not principal.is_active:
            return self.none()
        return self if principal.is_superuser else self.filter(memberships__user=principal)


class CollectionScopedQuerySet(models.QuerySet[Any]):
    """Rows that belong to a collection; ``collection_path`` is the lookup from the row to it."""

    collection_path: ClassVar[str] = "collection"

    def restrict(self, principal: Principal, permission: Permission = Permission.DATA_READ) -> Self:
        """The rows of the collections on which ``principal`` holds ``permission``."""
        if not isinstance(principal, Service) and principal.is_active and principal.is_superuser:
            return self
        permitted = self._collections().restrict(principal, permission).values("pk")
        return self.filter(**{f"{self.collection_path}__in": permitted})

    def _collections(self) -> CollectionQuerySet:
        """All collections, found along the path: the models of collections import this module."""
        model: Any = self.model
        for name in self.collection_path.split("__"):
            model = model._meta.get_field(name).related_model
        return cast(CollectionQuerySet, model._default_manager.all())
