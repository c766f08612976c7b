from __future__ import annotations

from django.urls import path

from vla_project.pages import collection_views, comparison_views, import_views, retention_views, search_views, views

urlpatterns = [
    path("jsi18n/", views.javascript_catalog, name="javascript-catalog"),
    path("", views.home, name="home"),
    path("collections/", views.collections, name="collections"),
    path("collections/<slug:slug>/", collection_views.overview, name="collection"),
    path("collections/<slug:slug>/results/", collection_views.results, name="collection-results"),
    path("collections/<slug:slug>/episodes/", collection_views.episodes, name="collection-episodes"),
    path("collections/<slug:slug>/exports/", collection_views.exports, name="collection-exports"),
    path("collections/<slug:slug>/runs/", collection_views.runs, name="collection-runs"),
    path("collections/<slug:slug>/compare/", comparison_views.comparison, name="collection-compare"),
    path("collections/<slug:slug>/members/", collection_views.members, name="collection-members"),
    path("collections/<slug:slug>/members/<int:pk>/remove/", collection_views.remove_member, name="member-remove"),
    path("collections/<slug:slug>/import/<str:kind>/", import_views.import_spreadsheet, name="collection-import"),
    path("collections/<slug:slug>/map/", search_views.collection_map, name="collection-map"),
    path("search/", search_views.search_page, name="search"),
    path("search/saved/", search_views.save, name="search-save"),
    path("search/saved/<uuid:pk>/delete/", search_views.delete_saved, name="search-delete"),
    path("collections/<slug:slug>/retention/", retention_views.retention, name="collection-retention"),
    path("collections/<slug:slug>/retention/<int:pk>/remove/", retention_views.remove_rule, name="retention-remove"),
    path("episodes/<uuid:pk>/", views.episode, name="episode"),
    path("results/<uuid:request_id>/", views.result, name="result"),
]
