"""REST: changes of the registry. A version is registered and retired by superusers, and put to work on a collection by
those who manage it. Nothing that a robot has asked is dropped: what is queued for a version is still answered."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.choices import Permission
from collections_app.models import Collection
from collections_app.selectors import permitted_collection
from core.problems import forbidden, not_found
from inference import services
from inference.api.registry_serializers import (
    NewDeploymentSerializer,
    NewVersionSerializer,
    PlaceSerializer,
    VersionNameSerializer,
)
from inference.api.serializers import DeploymentSerializer, PolicyVersionSerializer
from inference.models import Deployment, PolicyVersion


class RegistryActions:
    """Mixed into the viewset of policy versions."""

    @extend_schema(request=NewVersionSerializer, responses={201: PolicyVersionSerializer})
    def create(self, request: Request) -> Response:
        """Register a version. It serves nobody until it is deployed."""
        _need_superuser(request)
        given = _validated(NewVersionSerializer, request)
        registered = services.register_version(**given, actor=request.user)
        headers = {"Location": f"{request.path}/{registered.name}"}
        return Response(self._shown(registered), status=status.HTTP_201_CREATED, headers=headers)

    @extend_schema(request=NewDeploymentSerializer, responses=DeploymentSerializer)
    @action(detail=True, methods=["post"])
    def deploy(self, request: Request, name: str) -> Response:
        """Put a version to work on a collection, active with a share of the traffic or shadow, or change that."""
        given = _validated(NewDeploymentSerializer, request)
        collection = _managed(request, given)
        deployed = services.deploy(
            policy_version=_version(request, name, given),
            collection=collection,
            role=given["role"],
            weight=given["weight"],
            actor=request.user,
        )
        return Response(DeploymentSerializer(deployed).data)

    @extend_schema(request=PlaceSerializer, responses=DeploymentSerializer)
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, name: str) -> Response:
        """Give a version all of a collection's traffic."""
        given = _validated(PlaceSerializer, request)
        collection = _managed(request, given)
        version = _version(request, name, given)
        activated = services.activate(policy_version=version, collection=collection, actor=request.user)
        return Response(DeploymentSerializer(activated).data)

    @extend_schema(request=PlaceSerializer, responses={204: None})
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, name: str) -> Response:
        """Take a version off a collection."""
        given = _validated(PlaceSerializer, request)
        collection = _managed(request, given)
        deployment = (
            Deployment.objects.filter(collection=collection, policy_version=_version(request, name, given))
            .select_related("collection")
            .first()
        )
        if deployment is None:
            raise not_found("The version is not deployed there.")
        services.withdraw(deployment=deployment, actor=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=VersionNameSerializer, responses=PolicyVersionSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, name: str) -> Response:
        """End a version's service everywhere, for good."""
        _need_superuser(request)
        given = _validated(VersionNameSerializer, request)
        return Response(self._shown(services.retire(policy_version=_version(request, name, given), actor=request.user)))

    def _shown(self, version: PolicyVersion) -> Any:
        return self.get_serializer(version).data  # type: ignore[attr-defined]


def _validated(serializer: type[Any], request: Request) -> dict[str, Any]:
    given = serializer(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _need_superuser(request: Request) -> None:
    if not getattr(request.user, "is_superuser", False):
        raise forbidden("Only superusers may do this.")


def _managed(request: Request, given: dict[str, Any]) -> Collection:
    return permitted_collection(request.user, given["collection"], Permission.COLLECTION_MANAGE)


def _version(request: Request, name: str, given: dict[str, Any]) -> PolicyVersion:
    """One that the caller may see: deployed on a collection of theirs."""
    version = PolicyVersion.objects.restrict(request.user).filter(name=name, version=given["version"]).first()
    if version is None:
        raise not_found("No such policy version.")
    return version
