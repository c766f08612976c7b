"""What is stored of an image: its pixels exactly, and nothing else that the file held."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from inference.exceptions import ImageRefusedError
from inference.image_containers import only_the_picture
from inference.images import decode

PAGE = b"<html><script>alert(document.domain)</script></html>"
PIXELS = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)


def saved(kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind.upper(), **how)
    return buffer.getvalue()


def with_place(kind: str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = PAGE.decode()
    return saved(kind, exif=exif.tobytes())


def with_comment() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", PAGE.decode())
    return saved("png", pnginfo=info)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("jpeg", saved("jpeg") + PAGE),
        ("jpeg", saved("jpeg", comment=PAGE)),
        ("jpeg", with_place("jpeg")),
        ("jpeg", saved("jpeg", icc_profile=PAGE * 20)),
        ("jpeg", saved("jpeg", progressive=True, restart_marker_blocks=2, comment=PAGE)),
        ("png", saved("png") + PAGE),
        ("png", with_comment()),
        ("png", with_place("png")),
    ],
)
def test_a_file_that_is_also_something_else_is_only_a_picture_afterwards(kind: str, data: bytes) -> None:
    assert PAGE[:20] in data
    stored = only_the_picture(data, kind)
    assert PAGE[:20] not in stored
    assert b"Exif" not in stored
    np.testing.assert_array_equal(decode(stored), decode(data))
    assert only_the_picture(stored, kind) == stored


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_plain_file_is_kept_byte_for_byte(kind: str) -> None:
    assert only_the_picture(saved(kind), kind) == saved(kind)


def test_a_file_that_only_a_lenient_decoder_reads_is_written_anew() -> None:
    whole = saved("jpeg", comment=PAGE)
    odd = whole[:20] + b"\xff\x00" + whole[20:]
    Image.open(io.BytesIO(odd)).load()
    stored = only_the_picture(odd, "jpeg")
    assert PAGE not in stored
    assert decode(stored).shape == PIXELS.shape


def test_a_file_that_cannot_be_read_at_all_is_refused() -> None:
    with pytest.raises(ImageRefusedError):
        only_the_picture(saved("jpeg", comment=PAGE)[:-2], "jpeg")


@settings(max_examples=200)
@given(st.data())
def test_whatever_it_is_given_it_answers_with_a_picture_or_refuses(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["jpeg", "png"]))
    whole = bytearray(saved(kind))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for attempt in (bytes(whole), bytes(whole[:cut])):
        with suppress(ImageRefusedError):
            assert isinstance(only_the_picture(attempt, kind), bytes)
