from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from accounts.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("auth/token", views.TokenView.as_view(), name="api-token"),
    path("auth/refresh", views.RefreshView.as_view(), name="api-token-refresh"),
    path("auth/logout", views.LogoutView.as_view(), name="api-token-logout"),
]
