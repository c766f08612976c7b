"""Admin of collections and what belongs to them. Every change goes through a service."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.choices import Permission
from accounts.models import ApiKey, User
from collections_app import selectors, services
from collections_app.api_key_admin import ApiKeyAdmin
from collections_app.audit_admin import CollectionAuditAdmin
from collections_app.forms import ActionSpaceForm, DimensionFormSet, GrantForm, MembershipForm
from collections_app.models import ActionDimension, ActionSpace, ApiKeyGrant, Collection, Episode, Membership, Robot
from collections_app.restricted_admin import RestrictedAdmin
from core.admin import ModelAdmin

__all__ = ["ApiKeyAdmin", "CollectionAuditAdmin"]


class ManagedInline(admin.TabularInline):
    """Rows of a collection, for those who manage it."""

    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._manages(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._manages(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._manages(request, obj)

    def _manages(self, request: HttpRequest, obj: Collection | None) -> bool:
        return obj is None or Permission.COLLECTION_MANAGE in selectors.permissions_on(request.user, obj)


class MembershipInline(ManagedInline):
    model = Membership
    form = MembershipForm
    autocomplete_fields = ("user",)


class ApiKeyGrantInline(ManagedInline):
    model = ApiKeyGrant
    form = GrantForm
    autocomplete_fields = ("api_key",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Keys that the caller manages, and those that are granted already: nobody brings in another's key."""
        if db_field.name == "api_key":
            collection = request.resolver_match.kwargs.get("object_id") if request.resolver_match else None
            offered = Q(pk__in=selectors.manageable_api_keys(request.user).values("pk"))
            kwargs["queryset"] = ApiKey.objects.filter(offered | Q(grants__collection=collection)).distinct()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class RobotInline(ManagedInline):
    model = Robot
    fields = ("name", "description", "last_seen_at")
    readonly_fields = ("name", "last_seen_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Collection)
class CollectionAdmin(RestrictedAdmin):
    list_display = ("name", "slug", "action_space", "safety_mode", "created_at", "archived_at")
    list_filter = ("safety_mode", ("archived_at", admin.EmptyFieldListFilter))
    list_select_related = ("action_space",)
    search_fields = ("name", "slug")
    autocomplete_fields = ("action_space",)
    fieldsets = (
        (None, {"fields": ("slug", "name", "description", "guidelines")}),
        (_("What its robots send and do"), {"fields": ("action_space", "cameras", "horizon", "observation_mapping")}),
        (_("Answers"), {"fields": ("safety_mode", "cache_enabled", "default_deadline_ms")}),
    )
    inlines = (MembershipInline, ApiKeyGrantInline, RobotInline)
    actions = ("archive", "restore")

    def get_readonly_fields(self, request: HttpRequest, obj: Collection | None = None) -> tuple[str, ...]:
        return ("slug", "action_space") if obj else ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return selectors.may_create_collections(request.user)

    def save_model(self, request: HttpRequest, obj: Collection, form: ModelForm, change: bool) -> None:
        if change:
            changes = services.CollectionChanges(**{name: form.cleaned_data[name] for name in form.changed_data})  # type: ignore[typeddict-item]
            saved = services.update_collection(collection=obj, changes=changes)
        else:
            assert isinstance(request.user, User)
            saved = services.create_collection(created_by=request.user, **form.cleaned_data)
        obj.__dict__.update(saved.__dict__)

    def save_formset(self, request: HttpRequest, form: Any, formset: BaseInlineFormSet, change: bool) -> None:
        collection = form.instance
        changed = [*formset.save(commit=False)]
        if formset.model is Membership:
            for membership in formset.deleted_objects:
                services.remove_membership(membership=membership)
            for membership in changed:
                services.set_membership(collection=collection, user=membership.user, role=membership.role)
        elif formset.model is ApiKeyGrant:
            for grant in formset.deleted_objects:
                services.withdraw_api_key(grant=grant)
            for grant in changed:
                services.grant_api_key(api_key=grant.api_key, collection=collection)
        else:
            for robot in changed:
                services.describe_robot(robot=robot, description=robot.description)

    @admin.action(description=_("Archive: refuse new observations, keep the data"), permissions=["change"])
    def archive(self, request: HttpRequest, queryset: QuerySet[Collection]) -> None:
        self._set_archived(request, queryset.filter(archived_at=None), archived=True)

    @admin.action(description=_("Restore from the archive"), permissions=["change"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Collection]) -> None:
        self._set_archived(request, queryset.exclude(archived_at=None), archived=False)

    def _set_archived(self, request: HttpRequest, queryset: QuerySet[Collection], *, archived: bool) -> None:
        for collection in queryset.restrict(request.user, Permission.COLLECTION_MANAGE):  # type: ignore[attr-defined]
            services.update_collection(
                collection=collection, changes={"archived_at": timezone.now() if archived else None}
            )


class DimensionInline(admin.TabularInline):
    model = ActionDimension
    formset = DimensionFormSet
    extra = 0
    min_num = 1


@admin.register(ActionSpace)
class ActionSpaceAdmin(ModelAdmin):
    """Shared by collections, so only those who may create collections change them."""

    form = ActionSpaceForm
    list_display = ("name", "control_rate_hz", "updated_at")
    search_fields = ("name",)
    inlines = (DimensionInline,)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: ActionSpace | None = None) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_add_permission(self, request: HttpRequest) -> bool:
        return selectors.may_create_collections(request.user)

    def has_change_permission(self, request: HttpRequest, obj: ActionSpace | None = None) -> bool:
        return selectors.may_create_collections(request.user)

    def has_delete_permission(self, request: HttpRequest, obj: ActionSpace | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ActionSpace, form: ModelForm, change: bool) -> None:
        """Saved together with its dimensions, by one service call in ``save_related``."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        (formset,) = formsets
        formset.save(commit=False)  # what the admin's own log names
        if change:
            changes = services.ActionSpaceChanges(**{name: form.cleaned_data[name] for name in form.changed_data})  # type: ignore[typeddict-item]
            dimensions = formset.specs() if formset.has_changed() else None
            saved = services.update_action_space(action_space=form.instance, changes=changes, dimensions=dimensions)
        else:
            saved = services.create_action_space(dimensions=formset.specs(), **form.cleaned_data)
        form.instance.__dict__.update(saved.__dict__)


@admin.register(Robot)
class RobotAdmin(RestrictedAdmin):
    """Robots are made when they first speak; people describe them."""

    ordering = ("collection_id", "name")
    list_display = ("name", "collection", "last_seen_at")
    list_select_related = ("collection",)
    search_fields = ("name",)
    readonly_fields = ("collection", "name", "last_seen_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Robot, form: ModelForm, change: bool) -> None:
        services.describe_robot(robot=obj, description=form.cleaned_data["description"])


@admin.register(Episode)
class EpisodeAdmin(RestrictedAdmin):
    """Episodes are made by robots; people set the outcome and tags."""

    change_permission = Permission.FEEDBACK_WRITE
    list_display = ("external_id", "collection", "robot", "instruction", "outcome", "step_count", "started_at")
    list_filter = ("outcome", "started_at")
    list_select_related = ("collection", "robot")
    search_fields = ("=external_id", "instruction")
    fields = (
        "collection",
        "robot",
        "external_id",
        "instruction",
        "outcome",
        "tags",
        "step_count",
        "started_at",
        "ended_at",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Episode | None = None) -> list[str]:
        return [name for name in self.fields if name not in services.EpisodeChanges.__annotations__]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Episode, form: ModelForm, change: bool) -> None:
        changes = services.EpisodeChanges(**{name: form.cleaned_data[name] for name in form.changed_data})  # type: ignore[typeddict-item]
        services.update_episode(episode=obj, changes=changes)
