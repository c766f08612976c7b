from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.choices import Permission
from collections_app.querysets import CollectionScopedQuerySet
from collections_app.restricted_admin import RestrictedAdmin
from core.admin_badges import state_badge
from feedback.action_preview import preview
from feedback.webhooks import addresses, services
from feedback.webhooks.choices import SUBSCRIBABLE
from feedback.webhooks.models import WebhookDelivery, WebhookEndpoint


class WebhookEndpointForm(forms.ModelForm):
    url = forms.URLField(max_length=500, assume_scheme="https", label=gettext_lazy("URL"))
    events = forms.MultipleChoiceField(
        choices=[(event.value, event.label) for event in SUBSCRIBABLE], widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["collection", "url", "events", "enabled"]

    def clean_url(self) -> str:
        try:
            addresses.resolve(self.cleaned_data["url"])
        except addresses.ForbiddenAddressError as error:
            raise forms.ValidationError(str(error)) from None
        return str(self.cleaned_data["url"])


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(RestrictedAdmin):
    """The secret is shown when it is made and never again."""

    view_permission = Permission.COLLECTION_MANAGE
    form = WebhookEndpointForm
    list_display = ("url", "collection", "events", "enabled", "rests_until", "created_at")
    list_filter = ("enabled",)
    list_select_related = ("collection",)
    search_fields = ("url", "collection__slug")
    autocomplete_fields = ("collection",)
    actions = ("send_test", "rotate")

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> tuple[str, ...]:
        return ("collection",) if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> bool:
        return self.has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        if change:
            saved = services.update_endpoint(endpoint=WebhookEndpoint.objects.get(pk=obj.pk), **form.cleaned_data)
        else:
            saved = services.create_endpoint(**form.cleaned_data)
            self._show_secret(request, saved.secret)
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        services.delete_endpoint(endpoint=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset:
            services.delete_endpoint(endpoint=endpoint)

    @admin.action(description=gettext_lazy("Send a test"), permissions=["change"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[WebhookEndpoint]) -> None:
        for endpoint in queryset.select_related("collection"):
            services.ping(endpoint=endpoint)
        self.message_user(request, _("The delivery log shows what came of it."))

    @admin.action(description=gettext_lazy("New secret"), permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: CollectionScopedQuerySet) -> HttpResponse | None:
        affected = queryset.restrict(request.user, Permission.COLLECTION_MANAGE)
        if "confirmed" not in request.POST:
            title = _("New secrets? What is sent from then on is signed with them.")
            return preview(self, request, affected, action="rotate", title=title)
        for endpoint in affected:
            self._show_secret(request, services.rotate_secret(endpoint=endpoint))
        return None

    def _show_secret(self, request: HttpRequest, secret: str) -> None:
        text = _("The secret, shown this once: %(secret)s") % {"secret": secret}
        self.message_user(request, text, messages.WARNING)


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(RestrictedAdmin):
    """The delivery log."""

    view_permission = Permission.COLLECTION_MANAGE
    list_display = ("id", "endpoint", "event", "state_shown", "attempts", "response_status", "error", "created_at")
    list_filter = ("state", "event")
    list_select_related = ("endpoint",)
    list_defer = ("payload",)
    search_fields = ("id", "endpoint__url")
    actions = ("send_again",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.model._meta.fields]

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def state_shown(self, delivery: WebhookDelivery) -> str:
        return state_badge(delivery.state, delivery.get_state_display())

    @admin.action(description=gettext_lazy("Send again"), permissions=["change"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        for delivery in queryset.select_related("endpoint"):
            services.replay(delivery=delivery)
