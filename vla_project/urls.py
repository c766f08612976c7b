"""Every route of the Django side. The robots' own routes (POST /api/v1/inference, /act) are in asgi.py."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("core.urls")),
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
    path("admin/", admin.site.urls),
]
