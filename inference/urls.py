from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from inference import frames, views

urlpatterns: list[URLPattern | URLResolver] = [
    path("live/", views.live_index, name="live-index"),
    path("live/<slug:slug>/", views.live, name="live"),
    path("live/<slug:slug>/frames/<uuid:request_id>/<slug:camera>", frames.LiveFrameView.as_view(), name="live-frame"),
]
