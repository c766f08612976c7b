from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from rest_framework.renderers import BaseRenderer

from core.problems import PROBLEM_CONTENT_TYPE


class OrjsonRenderer(BaseRenderer):
    """JSON only, in production too: the browsable API shows more than it should."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None:
            return b""
        return orjson.dumps(data, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


class ProblemRenderer(OrjsonRenderer):
    media_type = PROBLEM_CONTENT_TYPE
    format = "problem"
