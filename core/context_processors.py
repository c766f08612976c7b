from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def product(_request: HttpRequest) -> dict[str, str]:
    """The name and version shown in every page's frame."""
    return {"product_name": "VLA Data Collection", "product_version": settings.VERSION}
