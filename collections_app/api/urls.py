from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from collections_app.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("collections", views.CollectionList.as_view(), name="api-collections"),
    path("collections/<slug:slug>", views.CollectionDetail.as_view(), name="api-collection"),
    path("episodes", views.EpisodeList.as_view(), name="api-episodes"),
    path("episodes/<uuid:pk>", views.EpisodeDetail.as_view(), name="api-episode"),
]
