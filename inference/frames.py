"""Pictures of recent steps, for the live page and whoever else follows the live socket."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.choices import Permission
from collections_app.selectors import permitted_collection
from core.problems import not_found
from inference import live
from inference.models import InferenceResult
from inference.selectors import image_url


@extend_schema(exclude=True)
class LiveFrameView(APIView):
    """A camera's picture: from Redis while it is fresh, from storage once it is recorded.

    It opens with what opens the socket that names it: a session, a bearer token, an API key.
    """

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        return super().perform_content_negotiation(request, force=True)  # who wants an image need not accept JSON

    def get(self, request: Request, slug: str, request_id: uuid.UUID, camera: str) -> HttpResponse:
        collection = permitted_collection(request.user, slug, Permission.DATA_READ)
        picture = live.frame(collection.pk, request_id, camera)
        if picture is not None:
            image_type = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
            response = HttpResponse(picture, content_type=image_type)
            response["Cache-Control"] = "private, max-age=3600, immutable"
            return response
        result = InferenceResult.objects.with_request_id(request_id).filter(collection=collection).first()
        if result is None or camera not in result.images:
            raise not_found("No such picture.")
        return redirect(image_url(result, camera))
