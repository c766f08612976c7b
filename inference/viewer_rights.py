"""Whether viewers in browsers may still watch, asked for many of them at once.

A thousand open pages would each cost a session, a person and a membership to read, every other second. Here those that
ask within a moment are answered together: one look into the cache and two queries, however many. Only a plain yes is
given; who gets none is judged by the slow way, which is the rule (``restrict``) and has the last word.
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections.abc import Sequence

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.cached_db import KEY_PREFIX
from django.core.cache import caches
from django.utils.crypto import constant_time_compare

from accounts.choices import Permission, roles_with
from accounts.models import User
from collections_app.models import Membership

_GATHER_SECONDS = 0.1

Question = tuple[str, uuid.UUID]


def confirmed(questions: Sequence[Question]) -> set[Question]:
    """Of pairs (session key, collection id) those whose session is alive and whose person may read the collection."""
    cached = caches[settings.SESSION_CACHE_ALIAS].get_many({KEY_PREFIX + session for session, _ in questions})
    sessions = {
        session: data
        for session, _ in questions
        if isinstance(data := cached.get(KEY_PREFIX + session), dict) and SESSION_KEY in data
    }
    people = {
        str(user.pk): user
        for user in User.objects.filter(pk__in={data[SESSION_KEY] for data in sessions.values()}, is_active=True)
    }
    members = set(
        Membership.objects.filter(
            collection__in={collection for _, collection in questions},
            user__in=people.values(),
            role__in=roles_with(Permission.DATA_READ),
        ).values_list("collection_id", "user_id")
    )
    found = set()
    for session, collection in questions:
        data = sessions.get(session, {})
        user = people.get(data.get(SESSION_KEY, ""))
        # The hash changes with the password: a session from before it is over.
        if user is None or not constant_time_compare(data.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()):
            continue
        if user.is_superuser or (collection, user.pk) in members:
            found.add((session, collection))
    return found


class ViewerRights:
    """Gathers one event loop's questions and asks them together."""

    def __init__(self) -> None:
        self._waiting: dict[Question, asyncio.Future[bool]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def confirm(self, session: str, collection_id: uuid.UUID) -> bool:
        """Whether it is plain that the session's person may still read the collection."""
        loop = asyncio.get_running_loop()
        answer = self._waiting.get((session, collection_id))
        if answer is None:
            answer = self._waiting[session, collection_id] = loop.create_future()
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask(), name="viewer-rights")
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_SECONDS)
            asked, self._waiting = self._waiting, {}
            try:
                found = await database_sync_to_async(confirmed)(list(asked))
            except Exception:
                found = set()
            for question, answer in asked.items():
                if not answer.done():
                    answer.set_result(question in found)


_rights: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ViewerRights] = weakref.WeakKeyDictionary()


def viewer_rights() -> ViewerRights:
    """The running event loop's."""
    loop = asyncio.get_running_loop()
    found = _rights.get(loop)
    if found is None:
        found = _rights[loop] = ViewerRights()
    return found
