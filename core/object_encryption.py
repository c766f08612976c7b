"""Objects that are encrypted before they leave the process: AES-256-GCM in segments, under keys that can be rotated.

An encrypted object is a header (magic, the id of the key, a salt) and segments of 64 KiB, each with its tag. Every
object has a key of its own, derived (HKDF-SHA256) from the installation's key, the salt and the object's name: one that
is moved to another name does not open. A segment's nonce is its number and whether it is the last (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015): none can be reordered, removed or cut off unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAGIC = b"VLAE\x01"
_ID_BYTES = 8
_SALT_BYTES = 32
_SEGMENT_BYTES = 64 * 1024
_TAG_BYTES = 16

HEADER_BYTES = len(_MAGIC) + _ID_BYTES + _SALT_BYTES


class ObjectEncryptionError(Exception):
    """An object cannot be opened: its key is not there, or it is not what was written under this name."""


def is_on() -> bool:
    """Whether new objects are encrypted here: whether there is a key."""
    return bool(settings.OBJECT_ENCRYPTION_KEYS)


def check_keys(keys: Iterable[str]) -> None:
    """Raises ``ValueError`` where a key is not 32 bytes in base 64."""
    for key in keys:
        _key_bytes(key)


def is_encrypted(header: bytes) -> bool:
    """Whether an object that begins with ``header`` was encrypted here."""
    return header.startswith(_MAGIC)


def is_current(header: bytes) -> bool:
    """Whether an object that begins with ``header`` is under the key that encrypts now."""
    newest = next(iter(_ring(tuple(settings.OBJECT_ENCRYPTION_KEYS))))
    return is_encrypted(header) and header[len(_MAGIC) :][:_ID_BYTES] == newest


def encrypted(name: str, data: bytes) -> bytes:
    """``data`` as the object ``name`` holds it."""
    return b"".join(encrypted_segments(name, io.BytesIO(data)))


def encrypted_segments(name: str, source: BinaryIO) -> Iterator[bytes]:
    """The object ``name`` piece by piece, from a ``source`` of any size."""
    key_id, key = next(iter(_ring(tuple(settings.OBJECT_ENCRYPTION_KEYS)).items()))
    salt = os.urandom(_SALT_BYTES)
    cipher = _cipher(key, salt, name)
    yield _MAGIC + key_id + salt
    number, segment = 0, source.read(_SEGMENT_BYTES)
    while True:
        following = source.read(_SEGMENT_BYTES) if len(segment) == _SEGMENT_BYTES else b""
        yield cipher.encrypt(_nonce(number, last=not following), segment, None)
        if not following:
            return
        number, segment = number + 1, following


def opened(name: str, source: BinaryIO) -> BinaryIO:
    """The plain bytes of the object ``name``, as a file that can be sought in.

    Raises ``ObjectEncryptionError`` here where no key fits, and at the read where the object was tampered with.
    """
    return cast(BinaryIO, io.BufferedReader(_DecryptingReader(name, source), _SEGMENT_BYTES))


class _DecryptingReader(io.RawIOBase):
    """Reads one segment at a time; memory does not grow with the object."""

    def __init__(self, name: str, source: BinaryIO) -> None:
        self.name = name
        self._source = source
        size = source.seek(0, os.SEEK_END) or source.tell()  # not every storage's file says where it has got to
        source.seek(0)
        header = source.read(HEADER_BYTES)
        key_id, salt = header[len(_MAGIC) :][:_ID_BYTES], header[len(_MAGIC) + _ID_BYTES :]
        key = _ring(tuple(settings.OBJECT_ENCRYPTION_KEYS)).get(key_id)
        if key is None:
            raise ObjectEncryptionError(f"{name} is encrypted under a key that OBJECT_ENCRYPTION_KEYS does not have.")
        body = size - HEADER_BYTES
        self._segments = -(-body // (_SEGMENT_BYTES + _TAG_BYTES))
        self._size = body - self._segments * _TAG_BYTES
        if len(salt) != _SALT_BYTES or self._size < 0 or self._segments < 1:
            raise ObjectEncryptionError(f"{name} was cut off.")
        self._cipher = _cipher(key, salt, name)
        self._position = 0
        self._number = -1
        self._segment = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("There is nothing before the beginning.")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._position >= self._size:
            if not self._size:
                self._load(0)  # the tag of an empty object proves that it is empty
            return 0
        number, begin = divmod(self._position, _SEGMENT_BYTES)
        self._load(number)
        view = memoryview(buffer).cast("B")
        part = self._segment[begin : begin + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        self._source.close()
        super().close()

    def _load(self, number: int) -> None:
        if number == self._number:
            return
        self._source.seek(HEADER_BYTES + number * (_SEGMENT_BYTES + _TAG_BYTES))
        stored = self._source.read(_SEGMENT_BYTES + _TAG_BYTES)
        try:
            last = number == self._segments - 1
            self._segment = self._cipher.decrypt(_nonce(number, last=last), stored, None)
        except InvalidTag:
            raise ObjectEncryptionError(f"{self.name} is not what was written under this name.") from None
        self._number = number


def _nonce(number: int, *, last: bool) -> bytes:
    """96 bits that no other segment under the same key has."""
    return number.to_bytes(11, "big") + bytes([last])


def _cipher(key: bytes, salt: bytes, name: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt, b"vla object\x00" + name.encode()).derive(key))


@lru_cache(maxsize=4)
def _ring(keys: tuple[str, ...]) -> dict[bytes, bytes]:
    """Id to key, the one that encrypts first. An id is the beginning of a hash and tells nothing of its key."""
    if not keys:
        return {}
    found = [_key_bytes(key) for key in keys]
    return {hashlib.sha256(b"vla object key id\x00" + key).digest()[:_ID_BYTES]: key for key in found}


def _key_bytes(key: str) -> bytes:
    try:
        found = base64.b64decode(key, altchars=b"-_", validate=True)
    except binascii.Error:
        found = b""
    if len(found) != 32:
        raise ValueError("A key of OBJECT_ENCRYPTION_KEYS is not 32 bytes in base 64.")
    return found
