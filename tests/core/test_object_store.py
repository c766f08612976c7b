"""Objects in local files: whole or not at all, nowhere else, and behind links that expire."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.files.storage import default_storage
from django.utils import timezone
from rest_framework.test import APIClient

from core import object_store


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A storage of the test's own."""
    storage = object_store.LocalObjectStorage(location=tmp_path / "storage", allow_overwrite=True)
    monkeypatch.setattr(object_store, "default_storage", storage)
    assert default_storage is not storage
    return tmp_path / "storage"


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../../up", "a/./b", "./a", "a//b", "a/", "a\\b", "a\x00b", ".", ".."]
)
def test_a_key_that_is_no_plain_path_is_refused_everywhere(key: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    for attempt in (
        lambda: object_store.put(key, b""),
        lambda: object_store.put_file(key, tmp_path / "f"),
        lambda: object_store.get(key),
        lambda: object_store.exists(key),
        lambda: object_store.delete([key]),
        lambda: object_store.url(key),
    ):
        with pytest.raises(ValueError, match="Not an object key"):
            attempt()
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_what_is_put_reads_back_with_its_digest(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    blob = object_store.put("a/b/c.bin", data)
    assert blob == object_store.StoredBlob("a/b/c.bin", len(data), hashlib.sha256(data).hexdigest())
    source = tmp_path / "source"
    source.write_bytes(data)
    assert object_store.put_file("a/d.bin", source) == object_store.StoredBlob("a/d.bin", blob.bytes, blob.sha256)
    assert object_store.put_blocks("a/e.bin", (data[:5], data[5:])) == object_store.StoredBlob(
        "a/e.bin", blob.bytes, blob.sha256
    )
    assert object_store.get("a/b/c.bin") == object_store.get("a/d.bin") == object_store.get("a/e.bin") == data


def test_blocks_may_share_two_pieces_of_memory(root: Path) -> None:
    """The hash of one block runs beside the writing of the next, on the memory that its maker will fill again."""
    memory = [memoryview(bytearray(1 << 16)) for _ in range(2)]
    blocks = [bytes([number]) * (1 << 16) for number in range(40)]

    def filled() -> Iterator[memoryview]:
        for number, block in enumerate(blocks):
            memory[number % 2][:] = block
            yield memory[number % 2]

    blob = object_store.put_blocks("a/b.bin", filled())

    assert object_store.get("a/b.bin") == b"".join(blocks)
    assert blob.sha256 == hashlib.sha256(b"".join(blocks)).hexdigest()


def test_what_fails_half_way_leaves_nothing_behind_and_the_old_bytes_in_place(root: Path) -> None:
    object_store.put("half/way.bin", b"old")

    def blocks() -> Iterator[bytes]:
        yield b"new"
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        object_store.put_blocks("half/way.bin", blocks())
    assert object_store.get("half/way.bin") == b"old"
    assert [path.name for path in (root / "half").iterdir()] == ["way.bin"]


def test_what_is_not_there_is_a_file_not_found() -> None:
    with pytest.raises(FileNotFoundError):
        object_store.get("no/such")
    assert not object_store.exists("no/such")
    assert object_store.delete(["no/such"]) == 1


def test_a_reader_sees_the_old_bytes_or_the_new_and_nothing_between() -> None:
    versions = [bytes([number]) * 300_000 for number in range(2)]
    object_store.put("k", versions[0])
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            object_store.put("k", versions[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(object_store.get("k") in versions for _ in range(200))
    finally:
        stop.set()
        writer.join()


def test_a_write_that_fails_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    object_store.put("k", b"old")

    def full(_self: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            object_store.put("k", b"new")
    assert object_store.get("k") == b"old"


def test_a_folder_is_listed_in_the_order_of_keys_without_unfinished_writes(root: Path) -> None:
    for key in ("b/2", "b/1", "a", "c/d/e"):
        object_store.put(key, key.encode())
    (root / "b" / ".3.unfinished").write_bytes(b"half")
    assert [info.key for info in object_store.list("b")] == ["b/1", "b/2"]
    assert [(info.key, info.bytes) for info in object_store.list("")] == [
        ("a", 1),
        ("b/1", 3),
        ("b/2", 3),
        ("c/d/e", 5),
    ]
    assert list(object_store.list("nowhere")) == []


def test_a_link_opens_one_object_for_its_time(api: Callable[..., APIClient]) -> None:
    object_store.put("pictures/base.jpg", b"jpeg")
    link = object_store.url("pictures/base.jpg", expires=60)
    opened = api().get(link)
    assert (opened.status_code, opened["Content-Type"]) == (200, "image/jpeg")
    assert b"".join(opened.streaming_content) == b"jpeg"
    assert "sandbox" in opened["Content-Security-Policy"]
    with time_machine.travel(timezone.now() + timedelta(seconds=61)):
        assert api().get(link).status_code == 404


def test_a_link_cannot_be_made_without_the_secret(api: Callable[..., APIClient]) -> None:
    object_store.put("other", b"secret")
    link = object_store.url("pictures/base.jpg")
    for forged in (link[:-1], link + "A", "/objects/other", "/objects/" + "A" * 40):
        assert api().get(forged).status_code == 404
