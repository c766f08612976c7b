"""Liveness, readiness, and local objects behind signed links."""

from __future__ import annotations

from django.core.signing import BadSignature
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from core import object_store
from core.health import check_all


@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """Alive: this process answers. Touches no dependency, so that an outage elsewhere restarts nothing here."""
    return HttpResponse("OK\n", content_type="text/plain")


@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """Ready: every dependency answers; one line for each."""
    checks = check_all()
    ready = all(check.ok for check in checks)
    return JsonResponse(
        {
            "status": "ready" if ready else "not ready",
            "checks": {check.name: "ok" if check.ok else check.detail for check in checks},
        },
        status=200 if ready else 503,
        headers={} if ready else {"Retry-After": "2"},
    )


@require_safe
def stored_object(_request: HttpRequest, token: str) -> FileResponse:
    """A local object. The signed, expiring link is the credential; S3 serves its own links."""
    try:
        source = object_store.open(object_store.key_of_token(token))
    except (BadSignature, FileNotFoundError, ValueError):
        raise Http404 from None
    response = FileResponse(source)
    response["Cache-Control"] = "private, max-age=600"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
