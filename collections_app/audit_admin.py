from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import AuditTrailAdmin
from accounts.choices import Permission
from accounts.models import AuditLog
from collections_app.models import Collection
from collections_app.restricted_admin import holds_anywhere


@admin.register(AuditLog)
class CollectionAuditAdmin(AuditTrailAdmin):
    """Superusers read the whole trail, auditors that of their collections."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditLog]:
        entries = super().get_queryset(request)
        if request.user.is_superuser:
            return entries
        audited = Collection.objects.restrict(request.user, Permission.AUDIT_READ)
        return entries.filter(collection_id__in=audited.values("pk"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: AuditLog | None = None) -> bool:
        if not request.user.is_active or not request.user.is_staff:
            return False
        if obj is not None:
            return self.get_queryset(request).filter(pk=obj.pk).exists()
        return holds_anywhere(request, Permission.AUDIT_READ)
