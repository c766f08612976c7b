"""The three ways in, for DRF: API key, JWT, browser session."""

from __future__ import annotations

from typing import Any, cast

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import AuthenticationFailed, InvalidToken
from rest_framework_simplejwt.tokens import Token

from accounts import credentials, tokens
from accounts.audit import AuditContext, bind_audit_context
from accounts.credentials import Credential
from accounts.models import User
from accounts.principals import Service
from core.problems import unauthenticated

API_KEY_SCHEME = "api-key"


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Api-Key <key>``: ``request.user`` is a ``Service``, ``request.auth`` its ``Credential``."""

    def authenticate(self, request: Request) -> tuple[Service, Credential] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != API_KEY_SCHEME:
            return None
        address = request.META.get("REMOTE_ADDR") or None
        credential = credentials.authenticate(token.strip(), ip_address=address)
        service = credential.service()
        bind_audit_context(AuditContext(service.key_id, service.name, address))
        return service, credential

    def authenticate_header(self, request: Request) -> str:
        return 'Api-Key realm="api"'


class JwtAuthentication(JWTAuthentication):
    """``Authorization: Bearer <jwt>``; a token on the blacklist is refused."""

    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user, token = found
        if tokens.is_revoked(token.payload):
            raise unauthenticated("The token was revoked.")
        bind_audit_context(AuditContext(user.pk, user.get_username(), request.META.get("REMOTE_ADDR") or None))
        return user, token


def person_of_jwt(token: str) -> User:
    """The person whom a bearer token proves, outside DRF. Raises ``Problem`` 401."""
    authentication = JwtAuthentication()
    try:
        validated = authentication.get_validated_token(token.encode())
        user = cast(User, authentication.get_user(validated))
    except (InvalidToken, AuthenticationFailed):
        raise unauthenticated("The token is not valid.") from None
    if tokens.is_revoked(validated.payload):
        raise unauthenticated("The token was revoked.")
    return user


class BrowserSessionAuthentication(SessionAuthentication):
    """The session cookie, with Django's CSRF check."""
