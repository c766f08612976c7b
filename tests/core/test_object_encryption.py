"""Objects encrypted before they are stored: nothing legible at rest, nothing changed unnoticed, keys that rotate."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.storage import Storage
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from core import object_store
from core.object_encryption import ObjectEncryptionError

SEGMENT = 64 * 1024
DATA = os.urandom(2 * SEGMENT + 77)


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    storage = object_store.LocalObjectStorage(location=tmp_path / "storage", allow_overwrite=True)
    monkeypatch.setattr(object_store, "default_storage", storage)
    return tmp_path / "storage"


@pytest.fixture(autouse=True)
def keys(settings: Any, root: Path) -> list[str]:
    settings.OBJECT_ENCRYPTION_KEYS = [new_key()]
    return list(settings.OBJECT_ENCRYPTION_KEYS)


@pytest.mark.parametrize("size", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, len(DATA)])
def test_what_is_put_reads_back_and_is_not_legible_at_rest(root: Path, tmp_path: Path, size: int) -> None:
    data = DATA[:size]
    source = tmp_path / "source"
    source.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    assert object_store.put("a/whole", data) == object_store.StoredBlob("a/whole", size, digest)
    assert object_store.put_file("a/file", source) == object_store.StoredBlob("a/file", size, digest)
    assert object_store.get("a/whole") == object_store.get("a/file") == data
    stored = [(root / "a" / name).read_bytes() for name in ("whole", "file")]
    assert len(stored[0]) == len(stored[1]) > size
    assert stored[0] != stored[1], "each object has a key of its own"
    assert size < 64 or not any(data[:64] in one for one in stored)


def test_an_object_can_be_sought_in_as_parquet_is(root: Path) -> None:
    object_store.put("k", DATA)
    with object_store.open("k") as source:
        assert source.seek(-10, io.SEEK_END) == len(DATA) - 10
        assert source.read() == DATA[-10:]
        source.seek(SEGMENT - 3)
        assert source.read(6) == DATA[SEGMENT - 3 : SEGMENT + 3]
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": list(range(50_000))}), sink)
    object_store.put("t.parquet", sink.getvalue())
    with object_store.open("t.parquet") as source:
        assert pq.ParquetFile(source).read(columns=["x"]).num_rows == 50_000


def changed(data: bytes) -> bytes:
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


def reordered(data: bytes) -> bytes:
    head, whole = 45, SEGMENT + 16
    return data[:head] + data[head + whole : head + 2 * whole] + data[head : head + whole] + data[head + 2 * whole :]


@pytest.mark.parametrize(
    "tampered",
    [changed, reordered, lambda data: data[: 45 + SEGMENT + 16], lambda data: data[:45], lambda data: data + bytes(16)],
    ids=["changed", "reordered", "cut off at a segment", "cut off at the header", "lengthened"],
)
def test_an_object_that_was_tampered_with_is_an_error(root: Path, tampered: Callable[[bytes], bytes]) -> None:
    object_store.put("k", DATA)
    (root / "k").write_bytes(tampered((root / "k").read_bytes()))
    with pytest.raises(ObjectEncryptionError):
        object_store.get("k")


def test_an_object_moved_to_another_name_does_not_open(root: Path) -> None:
    object_store.put("raw/mine.jpg", b"mine")
    (root / "raw/mine.jpg").rename(root / "raw/yours.jpg")
    with pytest.raises(ObjectEncryptionError, match="not what was written under this name"):
        object_store.get("raw/yours.jpg")


def test_rotation_moves_plain_objects_and_old_keys_to_the_new_key(settings: Any, keys: list[str]) -> None:
    object_store.put("under/old", DATA)
    settings.OBJECT_ENCRYPTION_KEYS = []
    object_store.put("plain", b"legible")
    settings.OBJECT_ENCRYPTION_KEYS = [new_key(), *keys]
    object_store.put("under/new", b"new")
    assert [object_store.get(key) for key in ("under/old", "plain", "under/new")] == [DATA, b"legible", b"new"]
    out = io.StringIO()
    call_command("rotate_object_keys", stdout=out)
    assert "2 of 3 objects" in out.getvalue()
    settings.OBJECT_ENCRYPTION_KEYS = settings.OBJECT_ENCRYPTION_KEYS[:1]
    settings.OBJECT_ENCRYPTION_REQUIRED = True
    assert [object_store.get(key) for key in ("under/old", "plain", "under/new")] == [DATA, b"legible", b"new"]
    settings.OBJECT_ENCRYPTION_KEYS = keys
    with pytest.raises(ObjectEncryptionError, match="a key that OBJECT_ENCRYPTION_KEYS does not have"):
        object_store.get("under/old")


def test_without_a_key_there_is_nothing_to_rotate_to(settings: Any) -> None:
    settings.OBJECT_ENCRYPTION_KEYS = []
    with pytest.raises(CommandError, match="there is no key"):
        call_command("rotate_object_keys")


def test_a_plain_object_put_in_from_outside_is_refused_where_encryption_is_required(settings: Any, root: Path) -> None:
    object_store.put("k", b"ours")
    (root / "k").write_bytes(b"somebody else's")
    assert object_store.get("k") == b"somebody else's"
    settings.OBJECT_ENCRYPTION_REQUIRED = True
    with pytest.raises(ObjectEncryptionError, match="not encrypted"):
        object_store.get("k")


def test_a_link_opens_the_plain_bytes_with_their_type(api: Callable[..., APIClient]) -> None:
    object_store.put("pictures/base.jpg", DATA)
    opened = api().get(object_store.url("pictures/base.jpg"))
    assert (opened.status_code, opened["Content-Type"]) == (200, "image/jpeg")
    assert int(opened["Content-Length"]) == len(DATA)
    assert b"".join(opened.streaming_content) == DATA


class Bucket(Storage):
    """An S3 bucket as far as ``object_store`` speaks to one: what it was told with each write."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def put_object(self, **told: Any) -> None:
        self.written.append({**told, "Body": bytes(told["Body"])})

    def upload_fileobj(self, source: Any, bucket: str, key: str, *, ExtraArgs: dict[str, str], Config: Any) -> None:  # noqa: N803
        self.written.append({"Bucket": bucket, "Key": key, "Body": source.read(), **ExtraArgs})

    def url(self, name: str | None, expire: int = 0) -> str:
        return f"https://s3.example/{name}"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Bucket:
    made = Bucket()
    settings.S3_BUCKET = "vla"
    monkeypatch.setattr(object_store, "default_storage", made)
    monkeypatch.setattr(object_store, "_s3", lambda: made)
    return made


def test_a_bucket_gets_only_ciphertext_and_links_lead_to_us(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    object_store.put("a.jpg", DATA)
    object_store.put_file("b.jpg", tmp_path / "f")
    assert [one["Key"] for one in bucket.written] == ["a.jpg", "b.jpg"]
    assert not any(DATA[:64] in one["Body"] for one in bucket.written)
    assert object_store.url("a.jpg").startswith("/objects/")


def test_the_server_is_asked_to_encrypt_every_write(bucket: Bucket, settings: Any, tmp_path: Path) -> None:
    settings.OBJECT_ENCRYPTION_KEYS = []
    settings.S3_SERVER_SIDE_ENCRYPTION = "aws:kms"
    settings.S3_KMS_KEY_ID = "arn:of-a-key"
    (tmp_path / "f").write_bytes(b"file")
    object_store.put("a.jpg", b"whole")
    object_store.put_file("b.jpg", tmp_path / "f")
    asked = [(one["Body"], one["ServerSideEncryption"], one["SSEKMSKeyId"]) for one in bucket.written]
    assert asked == [(b"whole", "aws:kms", "arn:of-a-key"), (b"file", "aws:kms", "arn:of-a-key")]
    assert object_store.url("a.jpg") == "https://s3.example/a.jpg"
