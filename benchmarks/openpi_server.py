"""openpi's server loop over the simulated accelerator, for comparison: one observation at a time, on the event loop.

openpi's server is not on PyPI. This is its ``WebsocketPolicyServer._handler`` (src/openpi/serving/
websocket_policy_server.py), step for step: metadata first; then receive, unpack, infer where the loop stands, pack and
send, with its timing keys; no compression and no bound on a frame. The policy decodes the views, as all contenders do.

    python -m benchmarks.openpi_server PORT
"""

from __future__ import annotations

import asyncio
import http
import sys
import time
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from benchmarks.collection import ACTIONS, BASE_MS, PER_SAMPLE_MS
from benchmarks.observations import CAMERAS, STATE_SIZE
from inference import images
from inference.policies.base import Observation
from inference.policies.simulated import SimulatedPolicy
from inference.robot_api import openpi_msgpack


async def handle(connection: ServerConnection, policy: SimulatedPolicy) -> None:
    await connection.send(openpi_msgpack.pack({"cameras": list(CAMERAS)}))
    previous: float | None = None
    async for frame in connection:
        start = time.monotonic()
        assert isinstance(frame, bytes)
        observation = openpi_msgpack.unpack_map(frame)
        infer_start = time.monotonic()
        answer = infer(policy, observation)
        infer_seconds = time.monotonic() - infer_start
        answer["server_timing"] = {"infer_ms": infer_seconds * 1000}
        if previous is not None:
            answer["server_timing"]["prev_total_ms"] = previous * 1000
        await connection.send(openpi_msgpack.pack(answer))
        previous = time.monotonic() - start


def infer(policy: SimulatedPolicy, observation: dict[str, Any]) -> dict[str, Any]:
    views = {camera: images.decode(data) for camera, data in observation["images"].items()}
    (chunk,) = policy.infer([Observation(views, observation["state"], observation["prompt"])])
    return {"actions": chunk.actions, "state": observation["state"]}


def health(_connection: ServerConnection, request: Request) -> Response | None:
    return _connection.respond(http.HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None


async def main(port: int) -> None:
    policy = SimulatedPolicy.from_options(
        {
            "base_ms": BASE_MS,
            "per_sample_ms": PER_SAMPLE_MS,
            "state_size": STATE_SIZE,
            "cameras": list(CAMERAS),
            "action_names": list(ACTIONS),
        }
    )

    async def handler(connection: ServerConnection) -> None:
        await handle(connection, policy)

    async with serve(handler, "127.0.0.1", port, compression=None, max_size=None, process_request=health) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
