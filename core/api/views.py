from __future__ import annotations

from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.authentication import SessionAuthentication
from rest_framework.renderers import TemplateHTMLRenderer


class DocumentationView(SpectacularSwaggerSplitView):
    """The API's page to read and try: all of its parts come from this server, its script from its own address."""

    http_method_names = ["get", "head"]  # the page cannot be rendered as an answer to OPTIONS

    authentication_classes = (
        SessionAuthentication,
    )  # so that the page's frame knows who reads it; nobody has to log in
    permission_classes = ()
    renderer_classes = [TemplateHTMLRenderer]
    url_name = "schema"
