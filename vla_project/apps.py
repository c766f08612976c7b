from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class OperationsAdminConfig(AdminConfig):
    """Django's admin with our site, whose index shows what needs somebody."""

    default_site = "vla_project.admin_site.OperationsSite"
