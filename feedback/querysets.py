from __future__ import annotations

from typing import Self

from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import User
from collections_app.querysets import CollectionScopedQuerySet
from feedback.choices import CHANGED_BY_REVIEWERS, REFUSED, ReviewState, ReviewVerdict, TaskState


class FeedbackTaskQuerySet(CollectionScopedQuerySet):
    def open(self) -> Self:
        return self.filter(state=TaskState.OPEN)

    def expired(self) -> Self:
        """Assigned to somebody whose time is over."""
        return self.filter(state=TaskState.ASSIGNED, assigned_until__lt=timezone.now())

    def held_by(self, user: User) -> Self:
        """Whatever ``user`` took and their time is not over, also where they may no longer answer: ``restrict`` it."""
        return self.filter(state=TaskState.ASSIGNED, assignee=user, assigned_until__gte=timezone.now())

    def not_seen_by(self, user: User) -> Self:
        """Without the tasks that ``user`` skipped and those about results that they hold or have answered.

        Looks up each task by itself: for few tasks. ``outside_work_of`` says the same of many.
        """
        from feedback.models import FeedbackTask, TaskSkip

        mine = FeedbackTask.objects.taken_by(user).filter(inference_result=OuterRef("inference_result"))
        return self.exclude(Exists(TaskSkip.objects.filter(task=OuterRef("pk"), annotator=user))).exclude(Exists(mine))

    def outside_work_of(self, user: User) -> Self:
        """As ``not_seen_by``, by one look at everything that ``user`` has done."""
        from feedback.models import FeedbackTask, TaskSkip

        return self.exclude(pk__in=TaskSkip.objects.filter(annotator=user).values("task")).exclude(
            inference_result__in=FeedbackTask.objects.taken_by(user).values("inference_result")
        )

    def taken_by(self, user: User) -> Self:
        """Tasks that ``user`` holds, or held when their time was over, or has answered."""
        return self.filter(assignee=user, state__in=(TaskState.ASSIGNED, TaskState.DONE))

    def most_useful_first(self) -> Self:
        return self.order_by(F("priority").desc(), "id")


class FeedbackQuerySet(CollectionScopedQuerySet):
    def current(self) -> Self:
        """Without answers that their annotator has replaced."""
        return self.filter(current=True)

    def usable(self) -> Self:
        """What may be trained on: current, not sent back, and neither disputed nor on the losing side of a dispute."""
        return self.current().filter(disputed=False).exclude(review_state__in=REFUSED)

    def reviewable_by(self, user: User) -> Self:
        """Current answers of other people that no reviewer has seen; nobody reviews themselves.

        Disputed ones are settled together, beside one another.
        """
        return self.current().filter(review_state=ReviewState.PENDING, disputed=False).exclude(annotator=user)

    def changed_by_reviewers(self) -> Self:
        """Current answers in whose place something else stands."""
        return self.current().filter(review_state__in=CHANGED_BY_REVIEWERS)

    def corrections(self) -> Self:
        """Those that carry a chunk of the human's own."""
        return self.filter(human_correction__isnull=False)

    def with_final_actions(self) -> Self:
        """Annotate ``final_actions``: the reviewer's fix where there is one, the annotator's chunk otherwise."""
        from feedback.models import Review

        fix = Review.objects.filter(feedback=OuterRef("pk"), verdict=ReviewVerdict.FIXED).order_by("-created_at")
        return self.annotate(final_actions=Coalesce(Subquery(fix.values("fixed_actions")[:1]), "human_correction"))


class ReviewQuerySet(CollectionScopedQuerySet):
    collection_path = "feedback__collection"
