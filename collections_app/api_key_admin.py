"""Admin of API keys: made, changed, rotated and revoked by those who manage every collection that a key is for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.choices import Permission
from accounts.models import ApiKey, User
from accounts.services import ApiKeyChanges, create_api_key, revoke_api_key, rotate_api_key, update_api_key
from collections_app import selectors, services
from collections_app.forms import ApiKeyForm
from collections_app.models import Collection
from core.admin import LocalTimes

# Enough to change over every robot of a laboratory.
OVERLAP = timedelta(days=7)


@admin.register(ApiKey)
class ApiKeyAdmin(LocalTimes):
    form = ApiKeyForm
    list_display = ("name", "public_id", "scope_names", "tier", "state", "last_used_at", "expires_at", "created_at")
    list_filter = ("tier", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("tier",)
    search_fields = ("name", "=public_id")
    actions = ("rotate", "revoke")
    readonly_fields = ("public_id", "state", "granted", "last_used_at", "created_by", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return selectors.manageable_api_keys(request.user)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        entered = ("name", "scopes", "tier", "allowed_networks", "expires_at")
        return (*entered, *self.readonly_fields) if obj else (*entered, "collections")

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"caller": request.user})

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        if not request.user.is_active or not request.user.is_staff:
            return False
        if obj is not None:
            return self.get_queryset(request).filter(pk=obj.pk).exists()
        return self.has_add_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        managed = Collection.objects.restrict(request.user, Permission.COLLECTION_MANAGE)
        return request.user.is_staff and (request.user.is_superuser or managed.exists())

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return self.has_view_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Keys are revoked, not deleted: what they did keeps their name."""
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm, change: bool) -> None:
        if change:
            changes = ApiKeyChanges(**{name: form.cleaned_data[name] for name in form.changed_data})  # type: ignore[typeddict-item]
            saved = update_api_key(api_key=obj, changes=changes)
        else:
            values = dict(form.cleaned_data)
            collections = values.pop("collections")
            assert isinstance(request.user, User)
            saved, token = create_api_key(created_by=request.user, **values)
            for collection in collections:
                services.grant_api_key(api_key=saved, collection=collection)
            saved.token = token  # type: ignore[attr-defined]
        obj.__dict__.update(saved.__dict__)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        return self._show(request, [(obj, obj.token)])  # type: ignore[attr-defined]

    @admin.action(description=_("Rotate: a new key now, the old one ends in seven days"), permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        rotated = []
        for api_key in queryset:
            try:
                rotated.append(rotate_api_key(api_key=api_key, overlap=OVERLAP))
            except ValidationError as error:
                self.message_user(request, f"{api_key}: {' '.join(error.messages)}", messages.ERROR)
        return self._show(request, rotated) if rotated else None

    @admin.action(description=_("Revoke: refused everywhere within a second"), permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for api_key in queryset:
            revoke_api_key(api_key=api_key)

    def _show(self, request: HttpRequest, created: list[tuple[ApiKey, str]]) -> HttpResponse:
        """The one answer that holds tokens: never in a message, which would keep them in a cookie or the session."""
        context = {**self.admin_site.each_context(request), "created": created, "opts": self.opts}
        context["title"] = _("Copy now: this is shown once")
        response = TemplateResponse(request, "admin/accounts/apikey/created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description=_("scopes"))
    def scope_names(self, api_key: ApiKey) -> str:
        return ", ".join(api_key.scopes)

    @admin.display(description=_("collections"))
    def granted(self, api_key: ApiKey) -> str:
        return ", ".join(api_key.grants.order_by("collection__slug").values_list("collection__slug", flat=True)) or "–"

    @admin.display(description=_("state"))
    def state(self, api_key: ApiKey) -> str:
        if api_key.revoked_at:
            return str(_("revoked"))
        return str(_("expired") if api_key.expires_at and api_key.expires_at <= timezone.now() else _("usable"))
