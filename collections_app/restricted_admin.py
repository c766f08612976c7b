"""The admin under the same rule as the API: staff see and change what their roles in collections allow."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts.choices import Permission
from collections_app.models import Collection
from core.admin import ModelAdmin


def holds_anywhere(request: HttpRequest, permission: Permission) -> bool:
    """Whether the caller is staff and holds ``permission`` on any collection.

    Every page of the admin asks this several times for each of its tables; the request remembers the answer.
    """
    if not request.user.is_active or not request.user.is_staff:
        return False
    answers: dict[Permission, bool] = request.__dict__.setdefault("_held_anywhere", {})
    if permission not in answers:
        held = Collection.objects.restrict(request.user, permission)
        answers[permission] = request.user.is_superuser or held.exists()
    return answers[permission]


class CollectionFilter(admin.RelatedFieldListFilter):
    """Filters by the collections that the caller may read: the names of others are none of their business."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[Any, Any]]:
        return [(row.pk, str(row)) for row in Collection.objects.restrict(request.user, Permission.DATA_READ)]


class RestrictedAdmin(ModelAdmin):
    """Of models whose queryset has ``restrict(principal, permission)``. Django's own permissions play no part.

    Nothing is deleted by hand unless a subclass says so: rows hang together, and retention has its own rules.
    """

    view_permission = Permission.DATA_READ
    change_permission = Permission.COLLECTION_MANAGE

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return self._permitted(super().get_queryset(request), request, self.view_permission)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> ModelChoiceField | None:
        """A row is put only into a collection that the caller may change, whatever the form was made to send."""
        if db_field.related_model is Collection:
            kwargs["queryset"] = Collection.objects.restrict(request.user, self.change_permission)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.holds(request, self.view_permission, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.holds(request, self.change_permission, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.holds(request, self.change_permission)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def holds(self, request: HttpRequest, permission: Permission, obj: Any = None) -> bool:
        """Whether the caller holds ``permission`` on ``obj``'s collection; without ``obj``, on any collection."""
        if not request.user.is_active or not request.user.is_staff:
            return False
        if obj is None or obj._state.adding:
            return holds_anywhere(request, permission)
        rows = self._permitted(self.model._default_manager.all(), request, permission)
        return rows.filter(pk=obj.pk).exists()

    def permitted(self, request: HttpRequest, selected: QuerySet[Any], permission: Permission) -> list[Any]:
        """Those of the ``selected`` rows on which the caller holds ``permission``; the others are named to them."""
        allowed = list(self._permitted(selected, request, permission))
        for row in set(selected) - set(allowed):
            self.message_user(request, _("You may not do this to %(row)s.") % {"row": row}, messages.ERROR)
        return allowed

    def _permitted(self, rows: Any, request: HttpRequest, permission: Permission) -> QuerySet[Any]:
        permitted: QuerySet[Any] = rows.restrict(request.user, permission)
        return permitted


class RestrictedRecordAdmin(RestrictedAdmin):
    """Rows that are looked at, and changed by actions alone; ``actions`` say which permission they need."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_export_permission(self, request: HttpRequest) -> bool:
        """For actions that need it."""
        return self.holds(request, Permission.EXPORT_WRITE)

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return self.holds(request, Permission.COLLECTION_MANAGE)
