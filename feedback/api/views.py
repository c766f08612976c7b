"""REST: feedback by people and by robots whose teleoperator intervenes."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, status
from rest_framework.request import Request
from rest_framework.response import Response

from feedback import selectors, services
from feedback.api.filters import FeedbackFilter
from feedback.api.serializers import FeedbackSerializer, NewFeedbackSerializer
from feedback.models import Feedback


class FeedbackList(generics.ListAPIView):
    """Feedback of the collections whose data the caller may read."""

    queryset = Feedback.objects.none()
    serializer_class = FeedbackSerializer
    filterset_class = FeedbackFilter

    def get_queryset(self) -> QuerySet[Feedback]:
        return selectors.feedback().restrict(self.request.user)

    @extend_schema(request=NewFeedbackSerializer, responses={201: FeedbackSerializer, 200: FeedbackSerializer})
    def post(self, request: Request) -> Response:
        """Answer a result: 201; the same answer again: 200 with the first one."""
        given = NewFeedbackSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        answer = dict(given.validated_data)
        result = selectors.result_to_answer(request.user, answer.pop("request_id"))
        feedback, is_new = services.give_feedback(principal=request.user, result=result, **answer)
        return Response(
            FeedbackSerializer(feedback).data,
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
            headers={"Location": f"{request.path}/{feedback.pk}"},
        )


class FeedbackDetail(generics.GenericAPIView):
    """One answer."""

    queryset = Feedback.objects.none()
    serializer_class = FeedbackSerializer

    def get(self, request: Request, pk: uuid.UUID) -> Response:
        return Response(FeedbackSerializer(selectors.permitted_feedback(request.user, pk)).data)
