"""openpi's server, small: metadata first, then a chunk that follows from the observation, or the traceback as text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.sync.server import ServerConnection, serve

from inference.robot_api import openpi_msgpack
from vla_project.launcher.ports import free_port

PORT = free_port()
HORIZON, DIMENSIONS = 10, 7


def handle(connection: ServerConnection) -> None:
    connection.send(openpi_msgpack.pack({"server": "test"}))
    for frame in connection:
        observation = openpi_msgpack.unpack_map(frame)
        if observation["prompt"] == "fail":
            connection.send("Traceback (most recent call last):\n  ...\nValueError: no such task")
            return
        if observation["prompt"] == "leave":
            connection.close()
            return
        connection.send(openpi_msgpack.pack({"actions": chunk_for(observation), "policy_timing": {"infer_ms": 1.0}}))


def chunk_for(observation: dict[str, Any]) -> np.ndarray:
    seen = observation["observation/base"].mean() / 255 + observation["observation/state"].sum()
    return np.full((HORIZON, DIMENSIONS), seen, np.float64)


@contextmanager
def running() -> Iterator[None]:
    """A server on ``PORT``."""
    with serve(handle, "127.0.0.1", PORT, compression=None, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()
