from __future__ import annotations

import uuid
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.choices import Permission
from accounts.models import User
from collections_app.selectors import permitted_collection
from core.pagination import NewestFirstCursorPagination
from pipeline import quarantine, selectors, services
from pipeline.api.serializers import (
    ExportRequestSerializer,
    ExportSerializer,
    FixSerializer,
    HitSerializer,
    MapPointSerializer,
    QuarantinedRecordSerializer,
    RunRequestSerializer,
    RunSerializer,
    SearchRequestSerializer,
    SuggestionsRequestSerializer,
)
from pipeline.embeddings.filters import FILTER_NAMES, SearchFilters
from pipeline.embeddings.map import map_of
from pipeline.embeddings.search import search
from pipeline.embeddings.suggestions import suggestions
from pipeline.models import PipelineRun


class CollectionStatisticsView(APIView):
    """What a collection holds, and how its robots were served in the last 24 hours."""

    @extend_schema(operation_id="collections_stats", responses=OpenApiResponse(description="Counts by kind."))
    def get(self, request: Request, slug: str) -> Response:
        collection = permitted_collection(request.user, slug, Permission.DATA_READ)
        return Response(selectors.collection_statistics(collection))


class CollectionRunsView(APIView):
    """The runs of a collection; POST starts one."""

    @extend_schema(operation_id="collections_runs_list", responses=RunSerializer(many=True))
    def get(self, request: Request, slug: str) -> Response:
        collection = permitted_collection(request.user, slug, Permission.DATA_READ)
        return _page(self, request, selectors.collection_runs(collection).prefetch_related("stages"), RunSerializer)

    @extend_schema(operation_id="collections_runs_start", request=RunRequestSerializer, responses={202: RunSerializer})
    def post(self, request: Request, slug: str) -> Response:
        collection = permitted_collection(request.user, slug, Permission.EXPORT_WRITE)
        given = RunRequestSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        run = services.start_run(
            collection=collection, requested_by=_person(request), trigger="api", **given.validated_data
        )
        return _accepted(RunSerializer(run).data, reverse("api-run", args=[run.pk]))


class RunView(APIView):
    """One run: its stages, counts and progress."""

    @extend_schema(operation_id="runs_retrieve", responses=RunSerializer)
    def get(self, request: Request, run_id: uuid.UUID) -> Response:
        return Response(RunSerializer(selectors.permitted_run(request.user, run_id)).data)


class RunQuarantineView(APIView):
    """The records that a run refused, newest first; POST replays them."""

    @extend_schema(operation_id="runs_quarantine_list", responses=QuarantinedRecordSerializer(many=True))
    def get(self, request: Request, run_id: uuid.UUID) -> Response:
        run = selectors.permitted_run(request.user, run_id)
        return _page(self, request, run.quarantined.select_related("inference_result"), QuarantinedRecordSerializer)

    @extend_schema(operation_id="runs_quarantine_replay", request=None, responses={202: RunSerializer})
    def post(self, request: Request, run_id: uuid.UUID) -> Response:
        run = selectors.permitted_run(request.user, run_id, Permission.EXPORT_WRITE)
        replay = services.replay_quarantine(run=run, requested_by=_person(request))
        return _accepted(RunSerializer(replay).data, reverse("api-run", args=[replay.pk]))


class QuarantinedRecordView(APIView):
    """One record that a run refused, with what may be fixed of it; PATCH fixes it, for managers."""

    @extend_schema(operation_id="quarantine_retrieve", responses=QuarantinedRecordSerializer)
    def get(self, request: Request, record_id: uuid.UUID) -> Response:
        record = selectors.permitted_quarantined_record(request.user, record_id)
        return Response({**QuarantinedRecordSerializer(record).data, "values": quarantine.values_of(record)})

    @extend_schema(operation_id="quarantine_fix", request=FixSerializer, responses={202: RunSerializer, 204: None})
    def patch(self, request: Request, record_id: uuid.UUID) -> Response:
        record = selectors.permitted_quarantined_record(request.user, record_id, Permission.COLLECTION_MANAGE)
        given = FixSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = dict(given.validated_data)
        replay = values.pop("replay")
        run = services.fix_quarantined(record=record, values=values, fixed_by=_person(request), replay=replay)
        if run is None:
            return Response(status=204)
        return _accepted(RunSerializer(run).data, reverse("api-run", args=[run.pk]))


class RunCancelView(APIView):
    """Cancel a run that has not ended."""

    @extend_schema(operation_id="runs_cancel", request=None, responses=RunSerializer)
    def post(self, request: Request, run_id: uuid.UUID) -> Response:
        run: PipelineRun = selectors.permitted_run(request.user, run_id, Permission.EXPORT_WRITE)
        return Response(RunSerializer(services.cancel_run(run=run)).data)


class CollectionExportsView(APIView):
    """The exports of a collection; POST starts one."""

    @extend_schema(operation_id="collections_exports_list", responses=ExportSerializer(many=True))
    def get(self, request: Request, slug: str) -> Response:
        collection = permitted_collection(request.user, slug, Permission.DATA_READ)
        exports = selectors.collection_exports(collection).prefetch_related("files")
        return _page(self, request, exports, ExportSerializer)

    @extend_schema(
        operation_id="collections_exports_start", request=ExportRequestSerializer, responses={202: ExportSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        collection = permitted_collection(request.user, slug, Permission.EXPORT_WRITE)
        given = ExportRequestSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        export = services.start_export(
            collection=collection,
            export_format=given.validated_data["format"],
            query=given.validated_data.get("query"),
            requested_by=_person(request),
        )
        return _accepted(ExportSerializer(export).data, reverse("api-export", args=[export.pk]))


class ExportView(APIView):
    """One export: its state, and once it is written its files with links that expire."""

    @extend_schema(operation_id="exports_retrieve", responses=ExportSerializer)
    def get(self, request: Request, export_id: uuid.UUID) -> Response:
        return Response(ExportSerializer(selectors.permitted_export(request.user, export_id)).data)


class SearchView(APIView):
    """Moments by meaning and words (``q``), or like a given one (``similar_to``); best first."""

    @extend_schema(
        operation_id="search",
        parameters=[SearchRequestSerializer],
        responses=inline_serializer("SearchResults", {"results": HitSerializer(many=True)}),
    )
    def get(self, request: Request) -> Response:
        given = SearchRequestSerializer(data=request.query_params.dict())
        given.is_valid(raise_exception=True)
        asked: dict[str, Any] = given.validated_data
        if not asked["q"].strip() and "similar_to" not in asked:
            raise serializers.ValidationError({"q": ["Give q or similar_to."]})
        if "collection" in asked:
            permitted_collection(request.user, asked["collection"], Permission.DATA_READ)
        hits = search(
            principal=request.user,
            text=asked["q"],
            similar_to=asked.get("similar_to"),
            by=asked["by"],
            filters=SearchFilters(**{name: asked[name] for name in FILTER_NAMES if name in asked}),
            limit=asked["limit"],
        )
        return Response({"results": HitSerializer(hits, many=True).data})


class SuggestionsView(APIView):
    """What was said, beginning like what is typed (``q``); the most frequent first."""

    @extend_schema(
        operation_id="search_suggestions",
        parameters=[SuggestionsRequestSerializer],
        responses=inline_serializer("Suggestions", {"results": serializers.ListField(child=serializers.CharField())}),
    )
    def get(self, request: Request) -> Response:
        given = SuggestionsRequestSerializer(data=request.query_params.dict())
        given.is_valid(raise_exception=True)
        asked: dict[str, Any] = given.validated_data
        if "collection" in asked:
            permitted_collection(request.user, asked["collection"], Permission.DATA_READ)
        found = suggestions(principal=request.user, typed=asked["q"], collection=asked.get("collection"))
        return Response({"results": found})


class CollectionMapView(APIView):
    """The collection's distinct texts on a plane; empty until a worker has drawn it."""

    @extend_schema(
        operation_id="collections_map",
        responses=inline_serializer(
            "CollectionMap",
            {
                "explained": serializers.FloatField(),
                "drawn_at": serializers.DateTimeField(allow_null=True),
                "points": MapPointSerializer(many=True),
            },
        ),
    )
    def get(self, request: Request, slug: str) -> Response:
        collection = permitted_collection(request.user, slug, Permission.DATA_READ)
        drawn = map_of(request.user, collection)
        if drawn is None:
            return Response({"explained": 0.0, "drawn_at": None, "points": []})
        return Response({"explained": drawn.explained, "drawn_at": drawn.drawn_at, "points": drawn.points})


def _page(view: APIView, request: Request, rows: Any, serializer: type[serializers.BaseSerializer]) -> Response:
    paginator = NewestFirstCursorPagination()
    page: Any = paginator.paginate_queryset(rows, request, view=view)
    return paginator.get_paginated_response(serializer(page, many=True).data)


def _accepted(body: Any, location: str) -> Response:
    return Response(body, status=202, headers={"Location": location})


def _person(request: Request) -> User | None:
    return request.user if isinstance(request.user, User) else None
