from __future__ import annotations

from django.urls import URLPattern, URLResolver, path
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView

from core import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", require_safe(ExportToDjangoView), name="metrics"),
    path("objects/<str:token>", views.stored_object, name="object"),
]
