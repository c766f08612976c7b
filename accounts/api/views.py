"""REST: JWT pairs for people's scripts and dashboards."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services, tokens
from accounts.api.serializers import (
    CredentialsSerializer,
    LogoutSerializer,
    RefreshSerializer,
    TokenPairSerializer,
)
from accounts.authentication import JwtAuthentication
from accounts.choices import RevocationReason
from accounts.models import TokenFamily
from core.problems import unauthenticated


class TokenView(APIView):
    """A name and a password, and a code where there is a second factor, for a pair of tokens."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(request=CredentialsSerializer, responses=TokenPairSerializer)
    def post(self, request: Request) -> Response:
        given = CredentialsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        pair = services.issue_tokens(
            request=request._request, ip_address=request.META.get("REMOTE_ADDR"), **given.validated_data
        )
        return Response(asdict(pair), headers={"Cache-Control": "no-store"})


class RefreshView(APIView):
    """The newest refresh token for a new pair. It works once; used again, all tokens of its log-in end."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(request=RefreshSerializer, responses=TokenPairSerializer)
    def post(self, request: Request) -> Response:
        given = RefreshSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        pair = tokens.rotate(refresh=given.validated_data["refresh"])
        return Response(asdict(pair), headers={"Cache-Control": "no-store"})


class LogoutView(APIView):
    """Ends a log-in: its refresh token and its access token, at once and everywhere."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(request=LogoutSerializer, responses={204: None})
    def post(self, request: Request) -> Response:
        given = LogoutSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        family = _family(request, given.validated_data.get("refresh"))
        if given.validated_data["everywhere"]:
            services.log_out_everywhere(user=family.user)
        else:
            tokens.revoke(family_id=family.pk, reason=RevocationReason.LOGOUT)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _family(request: Request, refresh: str | None) -> TokenFamily:
    """The log-in that the caller proves to hold, by the refresh token or by the access token alone."""
    if refresh:
        return tokens.family_of(refresh)
    found = JwtAuthentication().authenticate(request)
    if found is None:
        raise unauthenticated()
    return TokenFamily.objects.select_related("user").get(pk=found[1][tokens.FAMILY_CLAIM])
