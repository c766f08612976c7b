from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from feedback import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("feedback/", views.QueueView.as_view(), name="feedback-queue"),
    path("feedback/next/", views.NextTaskView.as_view(), name="feedback-next"),
    path("feedback/flag/<uuid:request_id>", views.FlagView.as_view(), name="feedback-flag"),
    path("feedback/similar/<uuid:request_id>/", views.SimilarView.as_view(), name="feedback-similar"),
    path("feedback/review/", views.ReviewQueueView.as_view(), name="feedback-review"),
    path("feedback/review/<uuid:pk>/", views.ReviewView.as_view(), name="feedback-review-answer"),
    path("feedback/disputes/<uuid:pk>/", views.DisputeView.as_view(), name="feedback-dispute"),
    path("feedback/agreement/<slug:slug>/", views.AgreementView.as_view(), name="feedback-agreement"),
    path("feedback/<uuid:pk>/", views.TaskView.as_view(), name="feedback-task"),
    path("feedback/<uuid:pk>/take/", views.TakeView.as_view(), name="feedback-take"),
    path("feedback/<uuid:pk>/draft/", views.DraftView.as_view(), name="feedback-draft"),
    path("feedback/<uuid:pk>/skip/", views.SkipView.as_view(), name="feedback-skip"),
    path("feedback/<uuid:pk>/release/", views.ReleaseView.as_view(), name="feedback-release"),
]
