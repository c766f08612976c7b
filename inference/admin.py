"""Admin of the policy registry, of deployments, and of what robots were answered; services make every change."""

from __future__ import annotations

import uuid
from typing import Any, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.choices import Permission
from collections_app.models import Collection, Episode, Robot
from collections_app.restricted_admin import CollectionFilter, RestrictedAdmin
from core.admin import ModelAdmin
from core.admin_badges import state_badge
from core.templatetags.times import moment
from inference import services
from inference.choices import VersionState
from inference.forms import DeploymentForm, PolicyVersionForm
from inference.models import Deployment, InferenceResult, PolicyVersion
from inference.querysets import PolicyVersionQuerySet
from inference.selectors import image_urls

# Robots and episodes of different collections may bear one name; so many are looked for at most.
NAMESAKES = 100


@admin.register(PolicyVersion)
class PolicyVersionAdmin(ModelAdmin):
    """The registry. Superusers register and retire; whoever may read a collection sees what is deployed on it."""

    form = PolicyVersionForm
    list_display = ("__str__", "backend", "state_shown", "at_work", "created_at")
    list_filter = ("state", "backend")
    search_fields = ("name", "version")
    list_defer = ("options", "info", "state_detail", "description")
    actions = ("retire",)
    fieldsets = (
        (None, {"fields": ("name", "version", "backend", "options", "checkpoint_sha256", "description")}),
        (gettext_lazy("State"), {"fields": ("state_shown", "state_detail", "info", "created_at", "retired_at")}),
    )
    readonly_fields = ("state_shown", "state_detail", "info", "created_at", "retired_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyVersion]:
        versions = cast(PolicyVersionQuerySet, super().get_queryset(request))
        return versions.restrict(request.user).prefetch_related("deployments__collection")

    def get_fieldsets(self, request: HttpRequest, obj: PolicyVersion | None = None) -> Any:
        return super().get_fieldsets(request, obj)[: None if obj else 1]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: PolicyVersion | None = None) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: PolicyVersion | None = None) -> bool:
        """Nobody changes a version; the list's actions ask here whether they may be offered."""
        return obj is None and self.has_add_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: PolicyVersion | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: PolicyVersion, form: ModelForm, change: bool) -> None:
        registered = services.register_version(**form.cleaned_data, actor=request.user)
        obj.__dict__.update(registered.__dict__)

    @admin.action(description=gettext_lazy("Retire: end its service everywhere, for good"), permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[PolicyVersion]) -> None:
        versions = list(queryset.exclude(state=VersionState.RETIRED))
        for version in versions:
            services.retire(policy_version=version, actor=request.user)
        self.message_user(request, _("Retired: %(versions)s.") % {"versions": ", ".join(map(str, versions)) or "–"})

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_shown(self, version: PolicyVersion) -> SafeString | str:
        return state_badge(version.state, version.get_state_display())

    @admin.display(description=gettext_lazy("at work on"))
    def at_work(self, version: PolicyVersion) -> str:
        return ", ".join(deployment.collection.slug for deployment in version.deployments.all()) or "–"


@admin.register(Deployment)
class DeploymentAdmin(RestrictedAdmin):
    """Which version works where, for those who manage the collection."""

    form = DeploymentForm
    list_display = ("policy_version", "collection", "role_shown", "weight", "created_at")
    list_filter = ("role",)
    list_select_related = ("policy_version", "collection")
    search_fields = ("policy_version__name", "collection__slug")
    autocomplete_fields = ("policy_version", "collection")
    actions = ("take_all_traffic",)

    def get_readonly_fields(self, request: HttpRequest, obj: Deployment | None = None) -> tuple[str, ...]:
        return ("policy_version", "collection") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Deployment | None = None) -> bool:
        return self.holds(request, Permission.COLLECTION_MANAGE, obj)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Only collections that the caller manages."""
        if db_field.name == "collection":
            kwargs["queryset"] = Collection.objects.restrict(request.user, Permission.COLLECTION_MANAGE)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Deployment, form: ModelForm, change: bool) -> None:
        saved = services.deploy(
            policy_version=obj.policy_version,
            collection=obj.collection,
            role=obj.role,
            weight=obj.weight,
            actor=request.user,
        )
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: Deployment) -> None:
        services.withdraw(deployment=obj, actor=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Deployment]) -> None:
        for deployment in queryset:
            services.withdraw(deployment=deployment, actor=request.user)

    @admin.action(description=gettext_lazy("Give it all of its collection's traffic"), permissions=["change"])
    def take_all_traffic(self, request: HttpRequest, queryset: QuerySet[Deployment]) -> None:
        for deployment in queryset.select_related("policy_version", "collection"):
            if self.has_change_permission(request, deployment):
                services.activate(
                    policy_version=deployment.policy_version, collection=deployment.collection, actor=request.user
                )
                self.message_user(request, _("%(deployment)s has all the traffic.") % {"deployment": deployment})

    @admin.display(description=gettext_lazy("role"), ordering="role")
    def role_shown(self, deployment: Deployment) -> SafeString | str:
        return state_badge(deployment.role, deployment.role.capitalize())


@admin.register(InferenceResult)
class InferenceResultAdmin(RestrictedAdmin):
    """What robots were answered. History: nobody adds, changes or deletes a row here."""

    list_display = (
        "when",
        "verdict_shown",
        "instruction",
        "collection",
        "robot",
        "policy",
        "answer_time",
        "in_replay",
    )
    list_display_links = ("when",)
    list_csv_omits = ("in_replay",)
    sortable_by = ("when",)
    list_filter = (
        "safety_verdict",
        "shadow",
        "cached",
        ("created_at", admin.DateFieldListFilter),
        ("collection", CollectionFilter),
    )
    list_select_related = ("collection", "robot")
    list_defer = ("input_state", "output_actions", "proposed_actions", "safety_violations", "images")
    search_fields = ("request_id",)
    search_help_text = gettext_lazy("A request id, or the exact name of a robot or an episode")
    actions = None
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "request_id",
                    "in_replay",
                    "pictures",
                    "collection",
                    "robot",
                    "episode",
                    "step",
                    "instruction",
                )
            },
        ),
        (
            gettext_lazy("Answer"),
            {
                "fields": (
                    "policy",
                    "verdict_shown",
                    "safety_score",
                    "safety_violations",
                    "output_actions",
                    "proposed_actions",
                )
            },
        ),
        (gettext_lazy("Observation"), {"fields": ("input_state",)}),
        (
            gettext_lazy("Timing"),
            {"fields": ("when", "queue_ms", "inference_time_ms", "total_ms", "batch_size", "cached", "shadow")},
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[InferenceResult], search_term: str
    ) -> tuple[QuerySet[InferenceResult], bool]:
        """Only what an index answers: a table of millions is not read through for a word."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(request_id=uuid.UUID(term)), False
        except ValueError:
            # Names are looked up first: what is asked of the large table is then a range of one index.
            # Those of collections that the caller may not read would be looked for in vain through all that he may.
            robots = list(
                Robot.objects.restrict(request.user).filter(name=term).values_list("pk", flat=True)[:NAMESAKES]
            )
            if robots:
                return queryset.filter(robot__in=robots), False
            episodes = Episode.objects.restrict(request.user).filter(external_id=term).values_list("pk", flat=True)
            return queryset.filter(episode__in=list(episodes[:NAMESAKES])), False

    def _permitted(self, rows: Any, request: HttpRequest, permission: Permission) -> QuerySet[Any]:
        if request.user.is_superuser:
            return super()._permitted(rows, request, permission)
        # By name, not as a subquery: the planner then knows how few of the millions they hold.
        permitted = Collection.objects.restrict(request.user, permission).values_list("pk", flat=True)
        return cast("QuerySet[Any]", rows.filter(collection__in=list(permitted)))

    @admin.display(description=gettext_lazy("when"), ordering="created_at")
    def when(self, result: InferenceResult) -> SafeString | str:
        return moment(result.created_at, "exact")

    @admin.display(description=gettext_lazy("safety"))
    def verdict_shown(self, result: InferenceResult) -> SafeString | str:
        return state_badge(result.safety_verdict, result.get_safety_verdict_display())

    @admin.display(description=gettext_lazy("policy"))
    def policy(self, result: InferenceResult) -> str:
        return f"{result.model_name}@{result.model_version}"

    @admin.display(description=gettext_lazy("answer (ms)"))
    def answer_time(self, result: InferenceResult) -> str:
        return f"{result.total_ms:.1f}"

    @admin.display(description=gettext_lazy("replay"))
    def in_replay(self, result: InferenceResult) -> SafeString | str:
        if result.shadow:
            return "–"
        return format_html('<a href="{}">{}</a>', reverse("result", args=[result.request_id]), _("Open"))

    @admin.display(description=gettext_lazy("pictures"))
    def pictures(self, result: InferenceResult) -> SafeString | str:
        shown = format_html_join(
            "",
            '<img class="admin-picture" src="{}" alt="{}">',
            ((url, camera) for camera, url in image_urls(result).items()),
        )
        return shown or "–"
