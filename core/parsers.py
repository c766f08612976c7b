from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from core import strict_json


class StrictJsonParser(BaseParser):
    """DRF's JSON parser, strict: see ``core.strict_json``."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read()
        value = strict_json.loads(body)
        strict_json.refuse_duplicate_keys(body, value)
        return value
