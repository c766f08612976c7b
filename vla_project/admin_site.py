from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
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

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The state of every dependency, what needs somebody, the busiest collections, and the tables."""
        dashboard = {
            "health": check_all(),
            "attention": attention_of(visitor_of(request))[:5],
            "cards": collection_cards(request.user, limit=SHOWN_COLLECTIONS),
        }
        return super().index(request, {**dashboard, **(extra_context or {})})
