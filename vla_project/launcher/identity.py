"""Which user a service runs as, what that user can reach, and how a child ends with its parent."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Identity:
    """The unprivileged user and group that a service is switched to."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give ``path`` (not what it holds) to this user."""
        os.chown(path, self.uid, self.gid)

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may walk down to ``folder``, which need not exist yet."""
        resolved = folder.resolve()
        return all(self._may_search(parent) for parent in [resolved, *resolved.parents] if parent.exists())

    def _may_search(self, folder: Path) -> bool:
        stat = folder.stat()
        if stat.st_uid == self.uid:
            return bool(stat.st_mode & 0o100)
        if stat.st_gid == self.gid:
            return bool(stat.st_mode & 0o010)
        return bool(stat.st_mode & 0o001)


def service_identity() -> Identity | None:
    """``nobody`` when we are root, because PostgreSQL refuses to run as root; else ``None``: run as ourselves."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Identity(uid=nobody.pw_uid, gid=nobody.pw_gid)


def popen_options(identity: Identity | None, death_signal: signal.Signals) -> dict[str, Any]:
    """Arguments for ``Popen`` and ``create_subprocess_exec``.

    The child gets a session of its own, so that Ctrl-C in the terminal reaches the launcher alone, and
    ``death_signal`` when the launcher dies without stopping it.
    """
    options: dict[str, Any] = {"start_new_session": True, "preexec_fn": _die_with_parent(death_signal)}
    if identity is not None:
        options |= {"user": identity.uid, "group": identity.gid, "extra_groups": []}
    return options


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A function for the child, to run after its change of user, which clears what it asks Linux for."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # it died before the call above
            os.kill(os.getpid(), death_signal)

    return arrange
