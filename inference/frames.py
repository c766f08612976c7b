"""Pictures of recent steps for the live page."""

from __future__ import annotations

import uuid

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from accounts.choices import Permission
from collections_app.selectors import permitted_collection
from inference import live
from inference.models import InferenceResult
from inference.selectors import image_url


@require_safe
def live_frame(request: HttpRequest, slug: str, request_id: uuid.UUID, camera: str) -> HttpResponse:
    """A camera's picture: from Redis while it is fresh, from storage once it is recorded."""
    collection = permitted_collection(request.user, slug, Permission.DATA_READ)
    picture = live.frame(request_id, camera)
    if picture is not None:
        response = HttpResponse(picture, content_type="image/png" if picture.startswith(b"\x89PNG") else "image/jpeg")
        response["Cache-Control"] = "private, max-age=3600, immutable"
        return response
    result = InferenceResult.objects.with_request_id(request_id).filter(collection=collection).first()
    if result is None or camera not in result.images:
        raise Http404
    return redirect(image_url(result, camera))
