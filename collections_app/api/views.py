"""REST: collections and episodes."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.choices import Permission
from accounts.models import User
from collections_app import selectors, services
from collections_app.api.filters import CollectionFilter, EpisodeFilter
from collections_app.api.serializers import (
    CollectionChangesSerializer,
    CollectionSerializer,
    EpisodeChangesSerializer,
    EpisodeSerializer,
    NewCollectionSerializer,
)
from collections_app.models import Collection, Episode
from core.problems import forbidden


class CollectionList(generics.ListAPIView):
    """The collections that the caller may see."""

    queryset = Collection.objects.none()
    serializer_class = CollectionSerializer
    filterset_class = CollectionFilter

    def get_queryset(self) -> QuerySet[Collection]:
        return selectors.visible_collections(self.request.user)

    @extend_schema(request=NewCollectionSerializer, responses={201: CollectionSerializer})
    def post(self, request: Request) -> Response:
        """Create a collection; the caller becomes its manager."""
        creator = request.user
        if not isinstance(creator, User) or not selectors.may_create_collections(creator):
            raise forbidden("Only staff who may add collections may do this.")
        given = NewCollectionSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        collection = services.create_collection(created_by=creator, **given.validated_data)
        body = CollectionSerializer(collection).data
        return Response(body, status=status.HTTP_201_CREATED, headers={"Location": f"{request.path}/{collection.slug}"})


class CollectionDetail(generics.GenericAPIView):
    """One collection: what its robots send and do."""

    queryset = Collection.objects.none()
    serializer_class = CollectionSerializer

    def get(self, request: Request, slug: str) -> Response:
        return Response(CollectionSerializer(selectors.visible_collection(request.user, slug)).data)

    @extend_schema(request=CollectionChangesSerializer)
    def patch(self, request: Request, slug: str) -> Response:
        """Change its rules. The slug and the action space stay: recorded data is named by them."""
        collection = selectors.permitted_collection(request.user, slug, Permission.COLLECTION_MANAGE)
        given = CollectionChangesSerializer(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        changed = services.update_collection(collection=collection, changes=given.validated_data)
        return Response(CollectionSerializer(changed).data)


class EpisodeList(generics.ListAPIView):
    """Episodes of the collections whose data the caller may read."""

    queryset = Episode.objects.none()
    serializer_class = EpisodeSerializer
    filterset_class = EpisodeFilter

    def get_queryset(self) -> QuerySet[Episode]:
        return selectors.episodes().restrict(self.request.user, Permission.DATA_READ)


class EpisodeDetail(generics.GenericAPIView):
    """One episode; ``id`` is ours, the robot's own name for it is the list's filter ``external_id``."""

    queryset = Episode.objects.none()
    serializer_class = EpisodeSerializer

    def get(self, request: Request, pk: UUID) -> Response:
        return Response(EpisodeSerializer(selectors.permitted_episode(request.user, pk, Permission.DATA_READ)).data)

    @extend_schema(request=EpisodeChangesSerializer)
    def patch(self, request: Request, pk: UUID) -> Response:
        """Set the outcome or the tags: for the collection's robots, and for people who may give feedback."""
        episode = selectors.permitted_episode(request.user, pk, Permission.INFERENCE_WRITE, Permission.FEEDBACK_WRITE)
        given = EpisodeChangesSerializer(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        return Response(EpisodeSerializer(services.update_episode(episode=episode, changes=given.validated_data)).data)
