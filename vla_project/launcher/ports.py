"""TCP ports: chosen free the first time, remembered, and chosen again when someone else has taken them."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

# Below 32768, where Linux begins to hand out ports for outgoing connections: one of those could hold ours.
_RANGE = range(15_000, 32_000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port on which nobody listens at this moment."""
    # Random, so that two launchers starting at once do not both take the first free one.
    return next(port for port in random.sample(_RANGE, len(_RANGE)) if is_free(port))


def remembered_port(memory: Path, name: str) -> int:
    """The port that ``name`` had the last time if it is still free, else another, noted in the file ``memory``."""
    ports: dict[str, int] = json.loads(memory.read_text()) if memory.exists() else {}
    if name not in ports or not is_free(ports[name]):
        ports[name] = free_port()
        memory.write_text(json.dumps(ports, indent=2) + "\n")
    return ports[name]
