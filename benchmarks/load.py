"""The load: so many robots in closed loop, in a process of its own that does as little as it can.

    python -m benchmarks.load --port 8000 --robots 32 --seconds 5 --protocol http --path /api/v1/inference

Speaks HTTP/1.1 and WebSocket over plain asyncio streams, with requests that were packed before the clock starts. Reads
one API key a line from standard input, prints ``measuring`` when the clock starts, and at the end one line of JSON:
seconds of each answer's latency, the size of the batch that it was in where the answer says so, failures by their first
line, and its own CPU seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import re
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from benchmarks import observations

FRAMES_PER_ROBOT = 4
WARM_UP_SECONDS = 1.5
_TEXT, _BINARY, _PING, _PONG = 0x1, 0x2, 0x9, 0xA


class Robot(Protocol):
    """One connection. ``ask`` sends the n-th request and waits for its answer; returns what was wrong, or nothing.

    ``answer`` is the last one's bytes.
    """

    answer: bytes

    async def connect(self) -> None: ...
    async def ask(self, number: int) -> str: ...


@dataclass
class HttpRobot:
    """Keeps one HTTP/1.1 connection alive."""

    port: int
    path: str
    key: str
    bodies: list[bytes]
    requests: list[bytes] = field(init=False)
    answer: bytes = b""

    def __post_init__(self) -> None:
        self.requests = [
            (
                f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Api-Key {self.key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
            for body in self.bodies
        ]

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    async def ask(self, number: int) -> str:
        self.writer.write(self.requests[number % len(self.requests)])
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n", 1)[0])
        self.answer = await self.reader.readexactly(length)
        return "" if head.startswith(b"HTTP/1.1 200") else self.answer[:200].decode("utf-8", "replace")


@dataclass
class WebSocketRobot:
    """An openpi client: metadata first, then one binary frame each way."""

    port: int
    path: str
    key: str
    bodies: list[bytes]
    frames: list[bytes] = field(init=False)
    answer: bytes = b""

    def __post_init__(self) -> None:
        self.frames = [_frame(_BINARY, body) for body in self.bodies]

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        self.writer.write(
            (
                f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                f"Sec-WebSocket-Version: 13\r\nAuthorization: Api-Key {self.key}\r\n\r\n"
            ).encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(head.decode("latin-1"))
        await self._message()

    async def ask(self, number: int) -> str:
        self.writer.write(self.frames[number % len(self.frames)])
        kind, self.answer = await self._message()
        return "" if kind == _BINARY else self.answer[-200:].decode("utf-8", "replace")

    async def _message(self) -> tuple[int, bytes]:
        while True:
            first, second = await self.reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(length)
            if first & 0x0F == _PING:
                self.writer.write(_frame(_PONG, payload))
                continue
            return first & 0x0F, payload


def _frame(kind: int, payload: bytes) -> bytes:
    """A client's frame (RFC 6455, 5.2). Its masking key is zero, so that masking costs this process nothing."""
    if len(payload) < 126:
        length = bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        length = b"\xfe" + struct.pack(">H", len(payload))
    else:
        length = b"\xff" + struct.pack(">Q", len(payload))
    return bytes([0x80 | kind]) + length + bytes(4) + payload


def batch_size(answer: bytes) -> int:
    """How many requests shared the batch, as an answer in JSON or msgpack says; 0 where it does not."""
    _, found, rest = answer.rpartition(b"batch_size")
    if not found:
        return 0
    if rest.startswith(b'"'):
        return int(re.split(rb"\D", rest.lstrip(b'": '), maxsplit=1)[0])
    return rest[0]  # msgpack writes a number below 128 as itself


async def drive(robots: list[Robot], seconds: float) -> dict[str, object]:
    """Every robot asks again as soon as it has its answer."""
    await asyncio.gather(*(robot.connect() for robot in robots))
    latencies: list[float] = []
    batches: list[int] = []
    failures: Counter[str] = Counter()
    begin = time.perf_counter() + WARM_UP_SECONDS
    end = begin + seconds

    async def loop(robot: Robot) -> None:
        number = 0
        while True:
            asked = time.perf_counter()
            if asked >= end:
                return
            problem = await robot.ask(number)
            answered = time.perf_counter()
            number += 1
            if problem:
                failures[problem] += 1
                await asyncio.sleep(0.05)
            elif begin <= answered < end:
                latencies.append(answered - asked)
                batches.append(batch_size(robot.answer))

    loops = [asyncio.create_task(loop(robot)) for robot in robots]
    await asyncio.sleep(WARM_UP_SECONDS)
    sys.stdout.write("measuring\n")
    sys.stdout.flush()
    cpu = time.process_time()
    await asyncio.sleep(seconds)
    cpu = time.process_time() - cpu
    sys.stdout.write("measured\n")
    sys.stdout.flush()
    await asyncio.gather(*loops)
    return {"latencies": latencies, "batches": batches, "failures": failures, "cpu": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--protocol", choices=("http", "websocket"), required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--robots", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--model", default="")
    options = parser.parse_args()
    keys = sys.stdin.read().split()
    packed = observations.json_body if options.protocol == "http" else observations.msgpack_frame
    kind = HttpRobot if options.protocol == "http" else WebSocketRobot
    robots: list[Robot] = [
        kind(
            options.port,
            options.path,
            keys[number % len(keys)] if keys else "none",
            [packed(number, frame, model=options.model) for frame in range(FRAMES_PER_ROBOT)],
        )
        for number in range(options.robots)
    ]
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(drive(robots, options.seconds))) + b"\n")


if __name__ == "__main__":
    main()
