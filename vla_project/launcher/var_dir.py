"""The folder that holds everything the system writes: one launcher at a time, and where its services may live."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from vla_project.launcher.exceptions import LauncherError
from vla_project.launcher.identity import Identity

LEFTOVER_SECONDS = 15.0
# Where services live when root keeps the project in a folder that no other user can enter.
_REACHABLE = Path("/var/lib/vla-data-collection")


@contextlib.contextmanager
def locked(var_dir: Path) -> Iterator[int]:
    """Hold ``var_dir`` for this launcher; gives the lock's descriptor, which every process it starts inherits.

    A lock belongs to all who inherited it. So it is free only when the last process of a killed launcher has ended,
    and whoever holds the file open is one of those.

    :raises LauncherError: the folder is not ours, or another launcher runs here
    """
    path = var_dir / "launcher.lock"
    try:
        var_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LauncherError(
            f"{var_dir} cannot be written ({error.strerror}). It belongs to whoever started the system there first: "
            f"run as that user, or set VAR_DIR to a folder of your own."
        ) from error
    try:
        _acquire(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def launcher_pid(var_dir: Path) -> int | None:
    """The process id of the launcher that runs in ``var_dir``, if one does."""
    path = var_dir / "launcher.lock"
    try:
        pid = int(path.read_text())
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return pid if _is_alive(pid) else None
    except (OSError, ValueError):
        return None
    return None


def _acquire(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = int(os.pread(descriptor, 32, 0) or 0)
            if pid and _is_alive(pid):
                raise LauncherError(
                    f"The system already runs in {path.parent} (process {pid}). "
                    f"Stop it with Ctrl-C there, or choose another folder with VAR_DIR and another PORT."
                ) from None
        else:
            return
        # Its processes were told to stop when it was killed; they get some time, then no more.
        if time.monotonic() > deadline:
            leftovers = _holders(path)
            if not leftovers:  # away from Linux we cannot find them
                raise LauncherError(f"Processes of an earlier run still use {path.parent}: end them, then try again.")
            for leftover in leftovers:
                os.kill(leftover, signal.SIGKILL)
        time.sleep(0.1)


def _holders(path: Path) -> list[int]:
    """Other processes that have ``path`` open (Linux; elsewhere none are found)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and any(link.readlink() == path for link in (process / "fd").iterdir()):
                found.append(int(process.name))
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def services_folder(var_dir: Path, identity: Identity | None) -> Path:
    """``var_dir``, or a folder that ``identity`` can enter, to which links in ``var_dir`` then point."""
    if identity is None or identity.can_enter(var_dir):
        return var_dir
    folder = _REACHABLE / hashlib.sha256(str(var_dir).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("postgres", "redis"):
        link = var_dir / name
        if not link.is_symlink():
            link.symlink_to(folder / name)
    return folder
