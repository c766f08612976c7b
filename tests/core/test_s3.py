"""Objects in a true S3 server (rclone's): it checks signatures, joins parts, and serves whoever has a link."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from storages.backends.s3 import S3Storage

from core import object_store
from vla_project.launcher.ports import free_port

BUCKET = "objects"
RCLONE = Path(sys.executable).with_name("rclone")
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    port = free_port()
    server = subprocess.Popen(
        [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "KEY,SECRET", "--config", "", folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
        else:
            return


def storage(endpoint: str, secret: str = "SECRET") -> S3Storage:
    return S3Storage(
        bucket_name=BUCKET,
        endpoint_url=endpoint,
        access_key="KEY",
        secret_key=secret,
        region_name="us-east-1",
        file_overwrite=True,
        querystring_auth=True,
        default_acl=None,
        client_config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@pytest.fixture(autouse=True)
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[S3Storage]:
    settings.S3_BUCKET = BUCKET
    made = storage(endpoint)
    monkeypatch.setattr(object_store, "default_storage", made)
    object_store._s3.cache_clear()
    yield made
    object_store._s3.cache_clear()


def test_what_is_put_reads_back_is_listed_and_goes() -> None:
    data = bytes(range(256)) * 40
    blob = object_store.put("raw/a/one.bin", data)
    object_store.put("raw/b/two.bin", b"2")

    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert object_store.get("raw/a/one.bin") == data
    assert [(info.key, info.bytes) for info in object_store.list("raw/a/")] == [("raw/a/one.bin", len(data))]
    assert object_store.delete(["raw/a/one.bin", "raw/b/two.bin", "raw/never"]) == 3
    assert not object_store.exists("raw/a/one.bin")
    with pytest.raises(FileNotFoundError):
        object_store.get("raw/b/two.bin")


def test_a_large_file_goes_in_parts_and_comes_back_whole(s3: S3Storage, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"".join(bytes([number]) * MEBIBYTE for number in range(40)))
    calls: list[str] = []
    s3.connection.meta.client.meta.events.register("before-call.s3.*", lambda model, **_call: calls.append(model.name))

    blob = object_store.put_file("exports/large.bin", path)

    assert sorted(calls) == ["CompleteMultipartUpload", "CreateMultipartUpload", *["UploadPart"] * 3]
    digest = hashlib.sha256()
    with object_store.open("exports/large.bin") as source:
        while block := source.read(MEBIBYTE):
            digest.update(block)
    assert (blob.bytes, blob.sha256) == (40 * MEBIBYTE, digest.hexdigest())


def test_a_link_opens_one_object_and_no_other() -> None:
    object_store.put("pictures/base.jpg", b"jpeg")
    object_store.put("pictures/other.jpg", b"other")
    link = object_store.url("pictures/base.jpg", expires=60)

    with urllib.request.urlopen(link, timeout=10) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"jpeg", "image/jpeg")
    for forged in (link.replace("base.jpg", "other.jpg"), link.partition("?")[0], link[:-3] + "000"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(forged, timeout=10)
        assert refused.value.code in (400, 403)


def test_a_wrong_secret_is_refused(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "default_storage", storage(endpoint, secret="WRONG"))
    object_store._s3.cache_clear()
    with pytest.raises(ClientError, match=r"SignatureDoesNotMatch|403|Forbidden|AccessDenied"):
        object_store.put("a", b"x")
