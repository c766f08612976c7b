"""Reading collections and what belongs to them, always on somebody's behalf."""

from __future__ import annotations

import uuid

from django.db.models import Exists, OuterRef, QuerySet

from accounts.choices import ROLE_PERMISSIONS, Permission, Role
from accounts.models import ApiKey
from accounts.principals import Principal, Service
from collections_app.models import ApiKeyGrant, Collection, Episode, Membership
from collections_app.querysets import CollectionScopedQuerySet
from core.problems import forbidden, not_found


def visible_collections(principal: Principal) -> QuerySet[Collection]:
    """The collections on which ``principal`` may do anything at all, with their action spaces, newest first.

    Somebody who may act without reading, such as a robot whose key has only ``inference:write``, sees them too.
    """
    visible = Collection.objects.visible_to(principal)
    return visible.select_related("action_space").prefetch_related("action_space__dimensions")


def visible_collection(principal: Principal, slug: str) -> Collection:
    """The collection named ``slug``. Raises ``Problem`` 404 where ``principal`` may not know of it."""
    collection = visible_collections(principal).filter(slug=slug).first()
    if collection is None:
        raise not_found("No such collection.")
    return collection


def permitted_collection(principal: Principal, slug: str, permission: Permission) -> Collection:
    """The collection named ``slug``, for a caller who needs ``permission`` on it.

    Raises ``Problem`` 404 where the caller may not know of it, 403 where they may but lack the permission.
    """
    collection = visible_collection(principal, slug)
    if permission not in permissions_on(principal, collection):
        raise forbidden(f"You need the permission {permission.value} on this collection.")
    return collection


def permissions_on(principal: Principal, collection: Collection) -> frozenset[Permission]:
    """Everything that ``principal`` may do with ``collection``; the rule itself is ``CollectionQuerySet.restrict``."""
    if isinstance(principal, Service):
        granted = collection.key_grants.filter(api_key=principal.key_id).exists()
        return frozenset(Permission(scope) for scope in principal.scopes) if granted else frozenset()
    if not principal.is_authenticated or not principal.is_active:
        return frozenset()
    if principal.is_superuser:
        return frozenset(Permission)
    role = Membership.objects.filter(collection=collection, user=principal).values_list("role", flat=True).first()
    return ROLE_PERMISSIONS[Role(role)] if role else frozenset()


def manageable_api_keys(principal: Principal) -> QuerySet[ApiKey]:
    """The keys that ``principal`` may change: those of which they manage every collection; superusers all."""
    keys = ApiKey.objects.select_related("tier")
    if not isinstance(principal, Service) and principal.is_active and principal.is_superuser:
        return keys
    managed = Collection.objects.restrict(principal, Permission.COLLECTION_MANAGE).values("pk")
    elsewhere = ApiKeyGrant.objects.filter(api_key=OuterRef("pk")).exclude(collection__in=managed)
    here = ApiKeyGrant.objects.filter(api_key=OuterRef("pk"), collection__in=managed)
    return keys.filter(Exists(here), ~Exists(elsewhere))


def may_create_collections(principal: Principal) -> bool:
    """Superusers, and staff to whom Django's permission to add collections was given."""
    return (
        not isinstance(principal, Service)
        and principal.is_staff
        and principal.has_perm("collections_app.add_collection")
    )


def permitted_episode(principal: Principal, episode_id: uuid.UUID, *permissions: Permission) -> Episode:
    """The episode, for a caller who needs any one of ``permissions`` on its collection.

    Raises ``Problem`` 404 where the caller may not know of it, 403 where they may but lack the permission.
    """
    visible = Collection.objects.visible_to(principal)
    episode: Episode | None = episodes().filter(pk=episode_id, collection__in=visible).first()
    if episode is None:
        raise not_found("No such episode.")
    if permissions_on(principal, episode.collection).isdisjoint(permissions):
        needed = " or ".join(permission.value for permission in permissions)
        raise forbidden(f"You need the permission {needed} on this episode's collection.")
    return episode


def episodes() -> CollectionScopedQuerySet:
    """Every episode with what its representation names; narrow it with ``restrict``."""
    rows: CollectionScopedQuerySet = Episode.objects.select_related("collection", "robot")
    return rows
