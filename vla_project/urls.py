"""Every route of the Django side. The robots' own routes (POST /api/v1/inference, /act) are in asgi.py."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("core.urls")),
    path("", include("vla_project.pages.urls")),
    path("", include("accounts.urls")),
    path("", include("collections_app.urls")),
    path("", include("inference.urls")),
    path("", include("feedback.urls")),
    path("", include("pipeline.urls")),
    path("api/v1/", include("core.api.urls")),
    path("api/v1/", include("accounts.api.urls")),
    path("api/v1/", include("collections_app.api.urls")),
    path("api/v1/", include("inference.api.urls")),
    path("api/v1/", include("feedback.api.urls")),
    path("api/v1/", include("pipeline.api.urls")),
    # One way to log in and to change a password, the admin's included: it asks for codes and counts attempts.
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    path("admin/password_change/", RedirectView.as_view(pattern_name="change-password")),
    path("admin/", admin.site.urls),
]

handler400 = "core.error_pages.bad_request"
handler403 = "core.error_pages.permission_denied"
handler404 = "core.error_pages.page_not_found"
handler500 = "core.error_pages.server_error"
