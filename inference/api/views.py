from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.choices import Permission
from collections_app.models import Collection
from core.problems import not_found
from inference.api.filters import InferenceResultFilter, PolicyVersionFilter
from inference.api.registry import RegistryActions
from inference.api.serializers import (
    AnswerSerializer,
    InferenceResultSerializer,
    ObservationSerializer,
    PolicyVersionSerializer,
)
from inference.engine.registry import loaded_versions
from inference.models import InferenceResult, PolicyVersion
from inference.selectors import recorded_result


class InferenceResultViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[InferenceResult]):
    """Recorded results. Asking for actions is the robots' own route: see ``inference.robot_api``."""

    serializer_class = InferenceResultSerializer
    filterset_class = InferenceResultFilter
    queryset = InferenceResult.objects.none()
    lookup_field = "request_id"
    lookup_value_regex = "[0-9a-fA-F-]{32,36}"

    def get_queryset(self) -> Any:
        return (
            InferenceResult.objects.sent()
            .restrict(self.request.user, Permission.DATA_READ)
            .select_related("collection", "robot", "episode")
        )

    @extend_schema(
        request={
            "application/json": ObservationSerializer,
            "multipart/form-data": ObservationSerializer,
            "application/msgpack": ObservationSerializer,
        },
        responses={200: AnswerSerializer, 400: OpenApiResponse(description="problem+json, with pointers")},
    )
    def create(self, request: Request) -> Response:
        """One observation in, one action chunk out.

        The ASGI application answers this route before Django sees it; the method is here for the schema.
        """
        raise not_found()

    def retrieve(self, request: Request, request_id: str) -> Response:
        """One recorded result; an answer that is not recorded yet is waited for, a few seconds at most."""
        try:
            identifier = uuid.UUID(request_id)
        except ValueError:
            raise not_found() from None
        return Response(self.get_serializer(recorded_result(request.user, identifier)).data)


class PolicyVersionViewSet(RegistryActions, mixins.ListModelMixin, viewsets.GenericViewSet[PolicyVersion]):
    """Policy versions of the collections that the caller may see."""

    serializer_class = PolicyVersionSerializer
    filterset_class = PolicyVersionFilter
    queryset = PolicyVersion.objects.none()
    lookup_field = "name"
    lookup_value_regex = r"[A-Za-z0-9][A-Za-z0-9._-]*"

    def get_queryset(self) -> Any:
        return PolicyVersion.objects.restrict(self.request.user).prefetch_related("deployments__collection")

    def get_serializer_context(self) -> dict[str, Any]:
        visible = set(Collection.objects.restrict(self.request.user).values_list("pk", flat=True))
        context = super().get_serializer_context()
        return {**context, "visible_collections": visible, "loaded_versions": loaded_versions()}

    def retrieve(self, request: Request, name: str) -> Response:
        """Every version of one policy, newest first."""
        versions = list(self.get_queryset().filter(name=name))
        if not versions:
            raise not_found()
        return Response({"name": name, "versions": self.get_serializer(versions, many=True).data})
