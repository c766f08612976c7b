"""``multipart/form-data`` bodies, parsed by Django's own parser."""

from __future__ import annotations

import io
from typing import cast

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from core.problems import Problem


class _InMemory(MemoryFileUploadHandler):
    """Keeps every file in memory: the body is bounded before it is parsed, and nothing touches a disk."""

    def handle_raw_input(self, *_args: object, **_kwargs: object) -> None:
        self.activated = True


def parse_form(body: bytes, parameters: str) -> tuple[dict[str, str], dict[str, bytes]]:
    """Text fields and files of a form. Raises ``Problem`` 400."""
    meta = {"CONTENT_TYPE": f"multipart/form-data;{parameters}", "CONTENT_LENGTH": str(len(body))}
    try:
        fields, files = MultiPartParser(meta, io.BytesIO(body), [_InMemory(HttpRequest())]).parse()
    except (MultiPartParserError, ValueError) as error:
        raise Problem(400, "malformed_form", f"The form is not valid: {error}.") from None
    return (
        {name: str(fields[name]) for name in fields},
        {name: cast(UploadedFile, files[name]).read() for name in files},
    )
