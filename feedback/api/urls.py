from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from feedback.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("feedback", views.FeedbackList.as_view(), name="api-feedback"),
    path("feedback/<uuid:pk>", views.FeedbackDetail.as_view(), name="api-feedback-detail"),
]
