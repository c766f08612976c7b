from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from pipeline.api import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("collections/<slug:slug>/stats", views.CollectionStatisticsView.as_view(), name="api-collection-stats"),
    path("collections/<slug:slug>/runs", views.CollectionRunsView.as_view(), name="api-collection-runs"),
    path("collections/<slug:slug>/exports", views.CollectionExportsView.as_view(), name="api-collection-exports"),
    path("runs/<uuid:run_id>", views.RunView.as_view(), name="api-run"),
    path("runs/<uuid:run_id>/quarantine", views.RunQuarantineView.as_view(), name="api-run-quarantine"),
    path("quarantine/<uuid:record_id>", views.QuarantinedRecordView.as_view(), name="api-quarantined-record"),
    path("runs/<uuid:run_id>/cancel", views.RunCancelView.as_view(), name="api-run-cancel"),
    path("exports/<uuid:export_id>", views.ExportView.as_view(), name="api-export"),
    path("search", views.SearchView.as_view(), name="api-search"),
    path("search/suggestions", views.SuggestionsView.as_view(), name="api-search-suggestions"),
    path("collections/<slug:slug>/map", views.CollectionMapView.as_view(), name="api-collection-map"),
]
