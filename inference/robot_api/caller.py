"""Who is asking, and may he: the same rule for a robot's key, a person's token and a browser's session."""

from __future__ import annotations

import uuid
from typing import Any, cast

from channels.db import database_sync_to_async

from accounts import credentials
from accounts.authentication import person_of_jwt
from accounts.choices import Permission
from accounts.credentials import Credential
from collections_app import snapshots
from collections_app.models import Collection
from collections_app.snapshots import CollectionSnapshot
from core.asgi import Scope, client_address, header
from core.problems import Problem, not_found, unauthenticated
from core.redis import UNAVAILABLE
from inference.engine.gateway import Gateway, unavailable


async def authenticate(scope: Scope, gateway: Gateway) -> Credential:
    """The caller's credential. Raises ``Problem`` 401, or 503 where nobody can say.

    A person's JWT is as good as a key with ``inference:write`` on the collections that he manages, without a rate limit
    of its own.
    """
    scheme, _, token = header(scope, b"authorization").partition(" ")
    match scheme.lower():
        case "api-key":
            try:
                return await credentials.authenticate_async(
                    token.strip(), ip_address=client_address(scope), redis_client=gateway.redis
                )
            except UNAVAILABLE:
                raise unavailable() from None
        case "bearer":
            return cast(Credential, await database_sync_to_async(_person)(token.strip()))
        case _:
            raise unauthenticated()


def _person(token: str) -> Credential:
    user = person_of_jwt(token)
    permitted = Collection.objects.restrict(user, Permission.INFERENCE_WRITE).values_list("pk", flat=True)
    visible = Collection.objects.restrict(user, Permission.DATA_READ).values_list("pk", flat=True)
    return Credential(
        key_id=user.pk,
        name=user.get_username(),
        secret_hash="",
        scopes=frozenset({Permission.INFERENCE_WRITE.value}) if permitted else frozenset(),
        collection_ids=frozenset(permitted) or frozenset(visible),
        tier="person",
        rate=None,
        burst=None,
        daily_quota=None,
        allowed_networks=(),
        expires_at=None,
    )


async def permitted_collection(slug: Any, credential: Credential, gateway: Gateway) -> CollectionSnapshot:
    """The collection that the caller may send observations to. Raises ``Problem`` 404 or 403."""
    snapshot: CollectionSnapshot | None = None
    if isinstance(slug, str) and 0 < len(slug) <= 64 and slug.replace("-", "").replace("_", "").isalnum():
        try:
            snapshot = await snapshots.get_async(slug, redis_client=gateway.redis)
        except UNAVAILABLE:
            raise unavailable() from None
    if snapshot is None or snapshot.archived or not _is_visible(snapshot.id, credential):
        raise not_found("No such collection.")
    if Permission.INFERENCE_WRITE not in credential.scopes:
        raise Problem(403, "permission_denied", "The key lacks the scope inference:write.")
    return snapshot


def _is_visible(collection_id: uuid.UUID, credential: Credential) -> bool:
    return collection_id in credential.collection_ids
