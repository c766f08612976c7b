from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.contenttypes.models import ContentType
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext_lazy as _

from core.health import check_all
from vla_project.pages.attention import attention_of
from vla_project.pages.selectors import collection_cards
from vla_project.pages.visitor import visitor_of

SHOWN_COLLECTIONS = 3


class OperationsSite(AdminSite):
    """The admin: its index is a dashboard before it is a list of tables."""

    site_header = _("Administration")
    site_title = _("Administration")
    index_title = _("Administration")
    enable_nav_sidebar = False

    def get_urls(self) -> list[Any]:
        """Django's, but what leads from the admin to the site asks the row's own admin page whether it may be seen."""
        link = path("r/<path:content_type_id>/<path:object_id>/", self.admin_view(self.to_site), name="view_on_site")
        return [link, *super().get_urls()]

    def to_site(self, request: HttpRequest, content_type_id: str, object_id: str) -> HttpResponse:
        """To the page of a row on the site. Django's own answers for any row, and so tells its address to anybody."""
        kind = ContentType.objects.filter(pk=content_type_id).first() if content_type_id.isdigit() else None
        page = self._registry.get(kind.model_class()) if kind else None  # type: ignore[arg-type]
        row = page.get_object(request, object_id) if page and page.has_view_permission(request) else None
        if row is None or not hasattr(row, "get_absolute_url"):
            raise Http404
        return redirect(row.get_absolute_url())

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The state of every dependency, what needs somebody, the busiest collections, and the tables."""
        dashboard = {
            "health": check_all(),
            "attention": attention_of(visitor_of(request))[:5],
            "cards": collection_cards(request.user, limit=SHOWN_COLLECTIONS),
        }
        return super().index(request, {**dashboard, **(extra_context or {})})
