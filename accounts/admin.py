"""Admin of people, tiers and log-ins; those of keys and of the audit trail know collections and are above this app."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import audit, services, tokens
from accounts.choices import RevocationReason
from accounts.models import AuditLog, RateLimitTier, TokenFamily, User
from core.admin import ModelAdmin, ReadOnlyAdmin

# Rights come from roles in collections, not from groups of Django's permissions.
admin.site.unregister(Group)


class PersonalDataAdmin(ModelAdmin):
    """Rows that tell of people (names, addresses, when they were where): whoever looks at them is in the trail too."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if request.method == "GET" and response.status_code == 200:
            audit.record(f"{self.opts.model_name}.listed", self.model, changes={"query": [None, request.GET.dict()]})
        return response

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        response = super().change_view(request, object_id, *args, **kwargs)
        row = self.get_object(request, object_id)
        if request.method == "GET" and response.status_code == 200 and row is not None:
            audit.record(f"{self.opts.model_name}.viewed", row)
        return response


class ServicePasswordForm(AdminPasswordChangeForm):
    """Django's form for somebody else's password, saved by our service."""

    def save(self, commit: bool = True) -> User:
        user: User = self.user
        services.set_password(user=user, password=self.cleaned_data["password1"])
        return user


@admin.register(User)
class PersonAdmin(PersonalDataAdmin, UserAdmin):
    """People. Only superusers give or take power."""

    change_password_form = ServicePasswordForm
    list_display = ("username", "first_name", "last_name", "is_staff", "is_superuser", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("username", "first_name", "last_name")
    filter_horizontal = ("user_permissions",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (gettext_lazy("Personal info"), {"fields": ("first_name", "last_name", "email")}),
        (
            gettext_lazy("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "user_permissions")},
        ),
        (gettext_lazy("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    actions = ("log_out_everywhere", "remove_second_factor")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        if request.user.is_superuser:
            return self.readonly_fields
        return (*self.readonly_fields, *sorted(services.PRIVILEGES))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """People are switched off, not deleted: what they did keeps their name."""
        return False

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm, change: bool) -> None:
        by = request.user
        assert isinstance(by, User)
        if change:
            changes = {name: form.cleaned_data[name] for name in form.changed_data if name != "password"}
            saved = services.update_user(user=obj, changes=changes, by=by)  # type: ignore[arg-type]
        else:
            saved = services.create_user(
                username=form.cleaned_data["username"], password=form.cleaned_data["password1"], by=by
            )
        obj.__dict__.update(saved.__dict__)

    @admin.action(description=gettext_lazy("Log out everywhere"), permissions=["change"])
    def log_out_everywhere(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in self._changeable(request, queryset):
            services.log_out_everywhere(user=user)

    @admin.action(description=gettext_lazy("Remove the second factor (device lost)"), permissions=["change"])
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in self._changeable(request, queryset):
            services.remove_second_factor(user=user)

    def _changeable(self, request: HttpRequest, queryset: QuerySet[User]) -> list[User]:
        """The selected ones; those that the caller may not change are left out, and named."""
        allowed = [user for user in queryset if self.has_change_permission(request, user)]
        for user in set(queryset) - set(allowed):
            self.message_user(request, _("You may not change %(user)s.") % {"user": user}, messages.ERROR)
        return allowed


@admin.register(RateLimitTier)
class RateLimitTierAdmin(ModelAdmin):
    list_display = ("name", "rate", "burst", "daily_quota")

    def get_readonly_fields(self, request: HttpRequest, obj: RateLimitTier | None = None) -> tuple[str, ...]:
        return ("name",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: RateLimitTier | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: RateLimitTier, form: ModelForm, change: bool) -> None:
        if change:
            changes = services.TierChanges(**{name: form.cleaned_data[name] for name in form.changed_data})  # type: ignore[typeddict-item]
            services.update_tier(tier=obj, changes=changes)
        else:
            obj.__dict__.update(services.create_tier(**form.cleaned_data).__dict__)


@admin.register(TokenFamily)
class TokenFamilyAdmin(PersonalDataAdmin, ReadOnlyAdmin):
    """Log-ins of people's programs."""

    list_display = ("user", "ip_address", "created_at", "expires_at", "revoked_at", "revocation_reason")
    list_filter = ("revocation_reason",)
    list_select_related = ("user",)
    search_fields = ("user__username",)
    exclude = ("refresh_jti", "session_hash")
    actions = ("revoke",)

    @admin.action(description=gettext_lazy("Revoke"), permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[TokenFamily]) -> None:
        if not request.user.is_superuser:
            self.message_user(request, _("Only a superuser may do this."), messages.ERROR)
            return
        for family in queryset:
            tokens.revoke(family_id=family.pk, reason=RevocationReason.LOGOUT)


class ResourceTypeFilter(admin.SimpleListFilter):
    """By kind of thing. The kinds are the models, so that no query looks for them in a table of millions."""

    title = gettext_lazy("kind of thing")
    parameter_name = "resource_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        own = (model._meta for model in apps.get_models() if not model._meta.app_config.name.startswith("django"))
        return sorted((str(meta.model_name), str(meta.verbose_name)) for meta in own)

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditLog]) -> QuerySet[AuditLog]:
        return queryset.filter(resource_type=self.value()) if self.value() else queryset


class AuditTrailAdmin(PersonalDataAdmin, ReadOnlyAdmin):
    """The audit trail: read, searched, filtered, never edited. ``collections_app`` decides who sees which entries."""

    list_display = ("timestamp", "action", "actor_name", "resource_type", "resource_name", "ip_address")
    list_filter = ("timestamp", ResourceTypeFilter)
    search_fields = ("action", "actor_name", "resource_name", "=request_id")
    search_help_text = gettext_lazy("Action, name of person, key or thing, request id")
    list_per_page = 50
    fields = (
        "timestamp",
        "action",
        "actor_name",
        "actor_id",
        "resource_type",
        "resource_name",
        "resource_id",
        "before_and_after",
        "ip_address",
        "request_id",
        "hash_text",
    )
    readonly_fields = ("before_and_after", "hash_text")

    @admin.display(description=gettext_lazy("Before and after"))
    def before_and_after(self, entry: AuditLog) -> str:
        rows = format_html_join(
            "",
            "<tr><th scope='row'>{}</th><td><code>{}</code></td><td><code>{}</code></td></tr>",
            ((name, *_before_and_after(value)) for name, value in sorted(entry.changes.items())),
        )
        return format_html("<table>{}</table>", rows) if entry.changes else "–"

    @admin.display(description=gettext_lazy("Hash"))
    def hash_text(self, entry: AuditLog) -> str:
        return bytes(entry.hash).hex()


def _before_and_after(value: Any) -> tuple[Any, Any]:
    """A change as kept; an entry that is no change, such as a count, has only what is."""
    return (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else ("", value)
