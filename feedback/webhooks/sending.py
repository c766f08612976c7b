"""One signed HTTP request to a checked address: no redirects, no proxies, little time, little to read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import secrets
import socket
import ssl
import threading
from contextlib import suppress

from feedback.webhooks.addresses import Target

# For each step of a connection, and for all of it: a byte now and then does not keep a worker.
TIMEOUT_SECONDS = 5.0
DEADLINE_SECONDS = 10.0
SECRET_PREFIX = "whsec_"


class SendingError(Exception):
    """Nobody answered."""


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """``v1,<base64>``: HMAC-SHA256 over ``id.timestamp.body`` (Standard Webhooks 1.0, "Signature scheme")."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def send(target: Target, *, secret: str, message_id: str, timestamp: int, body: bytes) -> int:
    """POST ``body`` and return the status of the answer, whose content is not read. Raises ``SendingError``."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "vla-data-collection",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message_id=message_id, timestamp=timestamp, body=body),
    }
    connection = _PinnedConnection(target)
    deadline = threading.Timer(DEADLINE_SECONDS, connection.cut)
    deadline.start()
    try:
        connection.request("POST", target.path, body=body, headers=headers)
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        if not connection.was_cut:
            raise SendingError(f"{type(error).__name__}: {error}") from error
    finally:
        deadline.cancel()
        connection.close()
    if connection.was_cut:  # also where what had come until then reads like an answer
        raise SendingError(f"No whole answer within {DEADLINE_SECONDS:g} s.")
    return status


class _PinnedConnection(http.client.HTTPConnection):
    """Connects to the address that was checked, and under TLS asks for a certificate of the host's name."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.host, target.port, timeout=TIMEOUT_SECONDS)
        self._target = target
        self._handle: socket.socket | None = None
        self.was_cut = False

    def connect(self) -> None:
        self.sock = socket.create_connection((self._target.address, self._target.port), timeout=TIMEOUT_SECONDS)
        self._handle = self.sock.dup()  # a socket that TLS wraps passes its own on
        if self._target.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self._target.host)

    def cut(self) -> None:
        """End the connection under whoever waits for it, from another thread."""
        self.was_cut = True
        if self._handle is not None:
            with suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        if self._handle is not None:
            self._handle.close()
