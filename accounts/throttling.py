"""The key's rate limit on Django's API routes; the robots' own route takes its token in one step with queueing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.credentials import Credential
from accounts.rate_limits import take_token
from core.redis import UNAVAILABLE

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which imports this module by its name in the settings

logger = structlog.get_logger(__name__)


class KeyRateThrottle(BaseThrottle):
    """One token per request of an API key; people are not counted.

    While Redis is away these routes go on unlimited: PostgreSQL answers them, and what protects robots' work, the
    engine's own limit, is closed then anyway.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        """True, with the bucket's state in the answer's headers. Raises ``Problem`` 429."""
        if isinstance(request.auth, Credential):
            try:
                view.headers.update(take_token(request.auth).headers())
            except UNAVAILABLE:
                logger.warning("rate_limit.unavailable", key=request.auth.name)
        return True
