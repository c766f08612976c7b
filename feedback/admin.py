"""Admin of tasks, answers and what belongs to them. Every change goes through a service."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.choices import Permission
from accounts.models import User
from collections_app.querysets import CollectionScopedQuerySet
from collections_app.restricted_admin import RestrictedAdmin
from core.admin_badges import state_badge
from core.problems import Problem
from feedback import selectors, services, tasks
from feedback.action_preview import preview
from feedback.choices import ReviewVerdict, TaskReason, TaskState
from feedback.forms import AssignForm, TaskRuleForm
from feedback.models import Dispute, Feedback, FeedbackTask, GoldAnswer, Review, TaskRule, TaskSkip
from feedback.querysets import FeedbackQuerySet, FeedbackTaskQuerySet
from feedback.webhooks.admin import WebhookDeliveryAdmin, WebhookEndpointAdmin

__all__ = ["WebhookDeliveryAdmin", "WebhookEndpointAdmin"]


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)


class RecordAdmin(RestrictedAdmin):
    """What people did: looked at here, changed only by the actions of a list."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]


@admin.register(TaskRule)
class TaskRuleAdmin(RestrictedAdmin):
    form = TaskRuleForm
    list_display = ("collection", "reason", "enabled", "sample_rate", "threshold", "overlap", "made", "limit")
    list_filter = ("reason", "enabled")
    list_select_related = ("collection",)
    search_fields = ("collection__name", "collection__slug")
    autocomplete_fields = ("collection",)

    def get_readonly_fields(self, request: HttpRequest, obj: TaskRule | None = None) -> tuple[str, ...]:
        return ("collection", "reason") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: TaskRule | None = None) -> bool:
        return self.has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: TaskRule, form: Any, change: bool) -> None:
        given = {"collection": obj.collection, "reason": obj.reason} | form.cleaned_data
        obj.__dict__.update(services.set_task_rule(**given, actor=_user(request)).__dict__)
        if obj.reason == TaskReason.SIMILAR:
            tasks.make_tasks_like_a_result.delay_on_commit(obj.pk)

    def delete_model(self, request: HttpRequest, obj: TaskRule) -> None:
        services.remove_task_rule(rule=obj, actor=_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TaskRule]) -> None:
        for rule in queryset:
            services.remove_task_rule(rule=rule, actor=_user(request))


class TaskSkipInline(admin.TabularInline):
    model = TaskSkip
    fields = readonly_fields = ("annotator", "reason", "note", "created_at")
    extra = 0
    can_delete = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(FeedbackTask)
class FeedbackTaskAdmin(RecordAdmin):
    ordering = ("-id",)  # ids follow the time
    list_display = ("id", "collection", "reason", "priority", "state_shown", "assignee", "assigned_until", "created_at")
    list_filter = ("state", "reason")
    list_select_related = ("collection", "assignee")
    list_defer = ("priority_parts",)
    search_fields = ("id", "assignee__username")
    inlines = (TaskSkipInline,)
    actions = ("assign", "reopen")

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_shown(self, task: FeedbackTask) -> str:
        return state_badge(task.state, task.get_state_display())

    @admin.action(description=gettext_lazy("Give to an annotator"), permissions=["change"])
    def assign(self, request: HttpRequest, queryset: FeedbackTaskQuerySet) -> HttpResponse | None:
        tasks = queryset.restrict(request.user, Permission.COLLECTION_MANAGE)
        affected = tasks.filter(state__in=(TaskState.OPEN, TaskState.ASSIGNED))
        people = selectors.annotators_of(affected.order_by().values("collection").distinct())
        form = AssignForm(request.POST if "confirmed" in request.POST else None, people=people)
        if not form.is_valid():
            return preview(self, request, affected, action="assign", title=_("Give to an annotator?"), form=form)
        annotator = form.cleaned_data["annotator"]
        count = services.assign_tasks(tasks=tasks, annotator=annotator, actor=_user(request))
        text = ngettext("%(n)d task is now %(who)s's.", "%(n)d tasks are now %(who)s's.", count)
        self.message_user(request, text % {"n": count, "who": annotator}, messages.SUCCESS)
        return None

    @admin.action(description=gettext_lazy("Put skipped and held tasks back into the queue"), permissions=["change"])
    def reopen(self, request: HttpRequest, queryset: FeedbackTaskQuerySet) -> HttpResponse | None:
        tasks = queryset.restrict(request.user, Permission.COLLECTION_MANAGE)
        affected = tasks.filter(state__in=(TaskState.SKIPPED, TaskState.ASSIGNED))
        if "confirmed" not in request.POST:
            return preview(self, request, affected, action="reopen", title=_("Put back into the queue?"))
        count = services.reopen_tasks(tasks=tasks)
        text = ngettext("%d task is open again.", "%d tasks are open again.", count) % count
        self.message_user(request, text, messages.SUCCESS)
        return None


@admin.register(Feedback)
class FeedbackAdmin(RecordAdmin):
    ordering = ("-id",)  # ids follow the time
    change_permission = Permission.FEEDBACK_REVIEW
    list_display = (
        "id",
        "collection",
        "feedback_type",
        "verdict",
        "author",
        "rating",
        "review_shown",
        "gold_score",
        "current",
        "created_at",
    )
    list_filter = ("feedback_type", "verdict", "review_state", "current")
    list_select_related = ("collection", "annotator", "api_key")
    list_defer = ("human_correction", "comment")
    search_fields = ("id", "annotator__username", "api_key__name")
    actions = ("accept", "make_known")

    @admin.display(description=gettext_lazy("review"), ordering="review_state")
    def review_shown(self, answer: Feedback) -> str:
        return state_badge(answer.review_state, answer.get_review_state_display())

    @admin.action(description=gettext_lazy("Accept"), permissions=["change"])
    def accept(self, request: HttpRequest, queryset: FeedbackQuerySet) -> HttpResponse | None:
        affected = queryset.reviewable_by(_user(request))
        if "confirmed" not in request.POST:
            return preview(self, request, affected, action="accept", title=_("Accept these answers?"))
        self._each(
            request,
            affected,
            lambda answer: services.review_feedback(
                feedback_id=answer.pk, reviewer=_user(request), verdict=ReviewVerdict.ACCEPTED
            ),
        )
        return None

    @admin.action(description=gettext_lazy("Take as known answers"), permissions=["change"])
    def make_known(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            return preview(self, request, queryset, action="make_known", title=_("Measure annotators by these?"))
        self._each(request, queryset, lambda answer: services.make_gold(feedback_id=answer.pk, reviewer=_user(request)))
        return None

    def _each(self, request: HttpRequest, answers: QuerySet[Feedback], change: Any) -> None:
        """Change one after the other; what a service refuses is named, and does not stop the rest."""
        done = 0
        for answer in answers:
            try:
                change(answer)
            except Problem as problem:
                reason = problem.errors[0].detail if problem.errors else problem.detail
                self.message_user(request, f"{answer}: {reason}", messages.ERROR)
            else:
                done += 1
        self.message_user(request, ngettext("%d answer.", "%d answers.", done) % done, messages.SUCCESS)


@admin.register(Review)
class ReviewAdmin(RecordAdmin):
    list_display = ("id", "feedback_id", "verdict_shown", "reviewer", "created_at")
    list_filter = ("verdict",)
    list_select_related = ("reviewer",)
    list_defer = ("fixed_actions",)
    search_fields = ("id", "reviewer__username")

    @admin.display(description=gettext_lazy("verdict"), ordering="verdict")
    def verdict_shown(self, review: Review) -> str:
        return state_badge(review.verdict, review.get_verdict_display())


@admin.register(Dispute)
class DisputeAdmin(RecordAdmin):
    ordering = ("-opened_at", "-id")
    list_display = ("id", "collection", "reason", "state_shown", "distance", "opened_at", "settled_by", "settled_at")
    list_filter = ("state", "reason")
    list_select_related = ("collection", "settled_by")
    search_fields = ("id", "settled_by__username")

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_shown(self, dispute: Dispute) -> str:
        return state_badge(dispute.state, dispute.get_state_display())


@admin.register(GoldAnswer)
class GoldAnswerAdmin(RecordAdmin):
    change_permission = Permission.FEEDBACK_REVIEW
    list_display = ("inference_result_id", "collection", "verdict", "enabled", "created_at")
    list_filter = ("verdict", "enabled")
    list_select_related = ("collection",)
    list_defer = ("actions",)
    search_fields = ("collection__slug",)
    actions_on_top = True
    actions = ("switch_off",)

    @admin.action(description=gettext_lazy("Ask no longer"), permissions=["change"])
    def switch_off(self, request: HttpRequest, queryset: CollectionScopedQuerySet) -> HttpResponse | None:
        affected = queryset.restrict(request.user, Permission.FEEDBACK_REVIEW).filter(enabled=True)
        if "confirmed" not in request.POST:
            return preview(self, request, affected, action="switch_off", title=_("Measure nobody by these?"))
        for gold in self.permitted(request, affected, Permission.FEEDBACK_REVIEW):
            services.switch_off_gold(gold=gold, actor=_user(request))
        return None
