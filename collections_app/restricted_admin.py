"""The admin under the same rule as the API: staff see and change what their roles in collections allow."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.choices import Permission
from collections_app.models import Collection
from core.admin import ModelAdmin


class RestrictedAdmin(ModelAdmin):
    """Of models whose queryset has ``restrict(principal, permission)``. Django's own permissions play no part.

    Nothing is deleted by hand unless a subclass says so: rows hang together, and retention has its own rules.
    """

    view_permission = Permission.DATA_READ
    change_permission = Permission.COLLECTION_MANAGE

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return self._permitted(super().get_queryset(request), request, self.view_permission)

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
            return request.user.is_superuser or Collection.objects.restrict(request.user, permission).exists()
        rows = self._permitted(self.model._default_manager.all(), request, permission)
        return rows.filter(pk=obj.pk).exists()

    def _permitted(self, rows: Any, request: HttpRequest, permission: Permission) -> QuerySet[Any]:
        permitted: QuerySet[Any] = rows.restrict(request.user, permission)
        return permitted
