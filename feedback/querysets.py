from __future__ import annotations

from typing import Self

from django.db.models import F, Q
from django.utils import timezone

from accounts.models import User
from collections_app.querysets import CollectionScopedQuerySet
from feedback.choices import TaskState


class FeedbackTaskQuerySet(CollectionScopedQuerySet):
    def available(self) -> Self:
        """Open, or assigned to somebody whose time is over."""
        return self.filter(
            Q(state=TaskState.OPEN) | Q(state=TaskState.ASSIGNED, assigned_until__lt=timezone.now())
        )

    def held_by(self, user: User) -> Self:
        return self.filter(state=TaskState.ASSIGNED, assignee=user, assigned_until__gte=timezone.now())

    def most_useful_first(self) -> Self:
        return self.order_by(F("priority").desc(), "id")


class FeedbackQuerySet(CollectionScopedQuerySet):
    def corrections(self) -> Self:
        """Those that carry a chunk of the human's own."""
        return self.filter(human_correction__isnull=False)


class ReviewQuerySet(CollectionScopedQuerySet):
    collection_path = "feedback__collection"
