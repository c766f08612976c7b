"""Objects: one interface over any S3 bucket and local files (django-storages underneath).

Keys are made by this project, never by a caller: forward slashes, no dot segments. A write of the same key replaces the
object whole; a reader sees the old bytes or the new, never a mixture. With ``OBJECT_ENCRYPTION_KEYS`` every object is
encrypted before it is written, and whoever reads here gets plain bytes; sizes and digests are those of the plain bytes,
except in ``list``, which tells what is stored.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.signing import TimestampSigner
from django.urls import reverse

from core import object_encryption
from core.identifiers import uuid7

Block = bytes | memoryview

_SALT = "core.object_store"
_DELETED_AT_ONCE = 1000  # S3's own bound


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What was written: its key, size in bytes and SHA-256 in hexadecimal."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is stored: ``bytes`` counts what encryption adds."""

    key: str
    bytes: int
    modified: datetime


class LocalObjectStorage(FileSystemStorage):
    """Local files whose writes are atomic: a temporary file beside the target, then a rename."""

    def _save(self, name: str, content: File) -> str:
        self.write(name, content.read())
        return name

    def write(self, name: str, data: bytes) -> None:
        """Write ``data`` whole. Raises ``ValueError`` where ``name`` would leave the storage's folder."""
        target = self._target(name)
        temporary = target.with_name(f".{target.name}.{uuid7().hex[-12:]}")
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
        temporary.replace(target)

    @contextmanager
    def being_written(self, name: str) -> Iterator[BinaryIO]:
        """A file to write what becomes ``name`` when the block ends, and nothing where it fails."""
        target = self._target(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as temporary:
            try:
                yield cast(BinaryIO, temporary)
                temporary.flush()
                os.fchmod(temporary.fileno(), 0o644)
                Path(temporary.name).replace(target)
            except BaseException:
                Path(temporary.name).unlink(missing_ok=True)
                raise

    def delete(self, name: str) -> None:
        """Delete a file, and the folders that it leaves empty: their names say what they held."""
        super().delete(name)
        root = Path(self.location)
        for folder in (root / name).parents:
            if folder == root:
                return
            try:
                folder.rmdir()
            except OSError:
                return

    def _target(self, name: str) -> Path:
        return Path(self.location) / checked_key(name)


def checked_key(key: str) -> str:
    """``key`` itself. Raises ``ValueError`` where it has an empty or dot segment, a backslash or a NUL."""
    if not {"", ".", ".."}.isdisjoint(key.split("/")) or "\\" in key or "\x00" in key:
        raise ValueError(f"Not an object key: {key!r}")
    return key


def put(key: str, data: bytes, content_type: str | None = None) -> StoredBlob:
    """Store ``data`` under ``key``, replacing what was there."""
    stored = object_encryption.encrypted(checked_key(key), data) if object_encryption.is_on() else data
    storage = _storage()
    if isinstance(storage, LocalObjectStorage):
        storage.write(key, stored)
    else:
        arguments = _s3_arguments(key, content_type)
        _s3().put_object(Bucket=settings.S3_BUCKET, Key=checked_key(key), Body=stored, **arguments)
    return StoredBlob(key, len(data), hashlib.sha256(data).hexdigest())


def put_file(key: str, path: Path, content_type: str | None = None) -> StoredBlob:
    """Store a file of any size under ``key``; memory stays bounded, S3 uploads are parallel multipart ones."""
    checked_key(key)
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
        size = source.tell()
        source.seek(0)
        storage = _storage()
        if isinstance(storage, LocalObjectStorage):
            with storage.being_written(key) as target:
                _copy(key, source, target)
        elif object_encryption.is_on():
            with tempfile.TemporaryFile() as encrypted:
                _copy(key, source, encrypted)
                encrypted.seek(0)
                _upload(key, encrypted, content_type)
        else:
            _upload(key, source, content_type)
    return StoredBlob(key, size, digest.hexdigest())


def put_blocks(key: str, blocks: Iterable[Block]) -> StoredBlob:
    """Store what ``blocks`` give, one after the other, under ``key``: ``put_file`` for what is still being made.

    A block is done with when the next but one is asked for, so that all may lie in the same memory.
    """
    storage = _storage()
    if not isinstance(storage, LocalObjectStorage) or object_encryption.is_on():
        with tempfile.NamedTemporaryFile() as whole:
            whole.writelines(blocks)
            whole.flush()
            return put_file(key, Path(whole.name))
    digest = hashlib.sha256()
    with storage.being_written(key) as target, ThreadPoolExecutor(1, thread_name_prefix="hash") as beside:
        hashed: Future[None] | None = None
        for block in blocks:
            before, hashed = hashed, beside.submit(digest.update, block)
            target.write(block)
            if before is not None:
                before.result()
        size = target.tell()
    return StoredBlob(key, size, digest.hexdigest())


def get(key: str) -> bytes:
    """The object's bytes. Raises ``FileNotFoundError``."""
    with open(key) as source:
        return source.read()


def open(key: str) -> BinaryIO:
    """The object as a readable file.

    Raises ``FileNotFoundError``, and ``ObjectEncryptionError`` where it is encrypted under a key that is not there, or
    is plain although ``OBJECT_ENCRYPTION_REQUIRED``.
    """
    stored = open_stored(key)
    header = stored.read(object_encryption.HEADER_BYTES)
    stored.seek(0)
    if object_encryption.is_encrypted(header):
        return object_encryption.opened(key, stored)
    if settings.OBJECT_ENCRYPTION_REQUIRED:
        stored.close()
        raise object_encryption.ObjectEncryptionError(f"{key} is not encrypted.")
    return stored


def open_stored(key: str) -> BinaryIO:
    """The object as it is stored, encrypted or not. Raises ``FileNotFoundError``."""
    return cast(BinaryIO, _storage().open(checked_key(key), "rb"))


def exists(key: str) -> bool:
    return bool(_storage().exists(checked_key(key)))


def delete(keys: Iterable[str]) -> int:
    """Delete objects; those that are already gone count too. Returns how many keys were given."""
    storage = _storage()
    wanted = [checked_key(key) for key in keys]
    if isinstance(storage, LocalObjectStorage):
        for key in wanted:
            storage.delete(key)
        return len(wanted)
    for start in range(0, len(wanted), _DELETED_AT_ONCE):
        names = [{"Key": key} for key in wanted[start : start + _DELETED_AT_ONCE]]
        answer = _s3().delete_objects(Bucket=settings.S3_BUCKET, Delete={"Objects": names, "Quiet": True})
        if refused := answer.get("Errors"):
            raise OSError(f"{len(refused)} objects were not deleted: {refused[0].get('Code')}")
    return len(wanted)


def list(prefix: str) -> Iterator[ObjectInfo]:
    """Every object below ``prefix``, a folder, in the order of keys; without it, every object."""
    storage = _storage()
    if isinstance(storage, LocalObjectStorage):
        root = Path(storage.location)
        yield from _list_local(root, root / checked_key(prefix.rstrip("/")) if prefix else root)
        return
    pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=settings.S3_BUCKET, Prefix=prefix)
    for page in pages:
        for item in page.get("Contents", []):
            yield ObjectInfo(item["Key"], item["Size"], item["LastModified"])


def url(key: str, expires: int = settings.OBJECT_URL_SECONDS) -> str:
    """A link that opens without further credentials for ``expires`` seconds.

    Encrypted objects are opened by us; of others on S3 the link leads there.
    """
    storage = _storage()
    if isinstance(storage, LocalObjectStorage) or object_encryption.is_on():
        token = TimestampSigner(salt=_SALT).sign_object([checked_key(key), expires])
        return reverse("object", args=[token])
    return str(storage.url(checked_key(key), expire=expires))


def key_of_token(token: str) -> str:
    """The key that a link to us names. Raises ``django.core.signing.BadSignature`` when forged or expired."""
    signer = TimestampSigner(salt=_SALT)
    key, expires = signer.unsign_object(token)
    signer.unsign_object(token, max_age=expires)
    return str(key)


def writable() -> None:
    """Raise where an object cannot be written now."""
    key = "health/write-check"
    _storage()
    put(key, b"ok")


def _storage() -> Any:
    return default_storage


@cache
def _s3() -> Any:
    return default_storage.connection.meta.client  # type: ignore[attr-defined]


def _s3_arguments(key: str, content_type: str | None) -> dict[str, str]:
    """What S3 is told of an object besides its bytes: its type, and how the server is to encrypt it."""
    arguments = {"ContentType": content_type or _content_type(key)}
    if settings.S3_SERVER_SIDE_ENCRYPTION in ("AES256", "aws:kms"):
        arguments["ServerSideEncryption"] = settings.S3_SERVER_SIDE_ENCRYPTION
    if settings.S3_KMS_KEY_ID:
        arguments["SSEKMSKeyId"] = settings.S3_KMS_KEY_ID
    return arguments


def _copy(key: str, source: BinaryIO, target: Any) -> None:
    """Write ``source`` as it is to be stored under ``key``."""
    if object_encryption.is_on():
        for piece in object_encryption.encrypted_segments(key, source):
            target.write(piece)
    else:
        shutil.copyfileobj(source, target, 1 << 20)
    target.flush()


def _upload(key: str, source: Any, content_type: str | None) -> None:
    from boto3.s3.transfer import TransferConfig

    _s3().upload_fileobj(
        source,
        settings.S3_BUCKET,
        key,
        ExtraArgs=_s3_arguments(key, content_type),
        Config=TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=8),
    )


def _list_local(root: Path, folder: Path) -> Iterator[ObjectInfo]:
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_dir():
            yield from _list_local(root, Path(entry.path))
        elif not entry.name.startswith("."):
            status = entry.stat()
            yield ObjectInfo(
                str(Path(entry.path).relative_to(root)),
                status.st_size,
                datetime.fromtimestamp(status.st_mtime).astimezone(),
            )


def _content_type(key: str) -> str:
    return mimetypes.guess_type(key)[0] or "application/octet-stream"


__all__ = [
    "LocalObjectStorage",
    "ObjectInfo",
    "StoredBlob",
    "checked_key",
    "delete",
    "exists",
    "get",
    "key_of_token",
    "list",
    "open",
    "open_stored",
    "put",
    "put_file",
    "url",
    "writable",
]
