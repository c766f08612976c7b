"""What viewers cost the robots, and one slow viewer the others.

    python -m benchmarks.viewers [--viewers 0,100,1000] [--seconds 6] [--rounds 2]

Robots in closed loop on the simulated accelerator while so many people, each with a session of his own, watch their
collection over ``/ws/inference`` and acknowledge as the live page does. Then one of a hundred viewers stops reading.
Writes ``var/bench/viewers.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from benchmarks import contenders, processes
from benchmarks.contenders import BENCH, ROOT, Running
from benchmarks.inference import CONTENDERS, measure
from benchmarks.load import _frame
from benchmarks.results import save, say

ROBOTS = 8
ACK_EVERY = 8
SLOW_AMONG = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", default="0,100,1000")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--make", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--watch", type=int, default=-1, help=argparse.SUPPRESS)
    parser.add_argument("--slow", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_sessions(options.make)
    elif options.watch >= 0:
        asyncio.run(watch(options.port, sys.stdin.readline().split(), slow=options.slow))
    else:
        run([int(count) for count in options.viewers.split(",")], options.seconds, options.rounds)


def run(counts: list[int], seconds: float, rounds: int) -> None:
    BENCH.mkdir(parents=True, exist_ok=True)
    robots = CONTENDERS["this-rest"]
    with contenders.this_system() as running:
        sessions = _made_sessions(running, max(*counts, SLOW_AMONG))
        measure(robots, running, 1, 1)
        contenders.until_settled(running)
        rows: dict[int, list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for count in counts:
                with viewers(running, sessions[:count]) as watched:
                    began, web = time.perf_counter(), _web_cpu(running)
                    row = measure(robots, running, ROBOTS, seconds)
                    share = (_web_cpu(running) - web) / (time.perf_counter() - began)
                told = orjson.loads(watched.stdout.read()) if watched.stdout else {}
                row |= {"viewers": count, "web_cpu": round(share, 3), "web_mb": row["resident_mb"].get("web", 0)}
                row["per_viewer"] = round(told["results"] / count / told["seconds"], 1) if count else "–"
                rows.setdefault(count, []).append(row)
                say(
                    f"{count:>5} viewers {row['rate']:>7.1f}/s  p50 {row['p50_ms']} p95 {row['p95_ms']} "
                    f"p99 {row['p99_ms']} ms  web {share:.0%} {row['web_mb']} MB  {row['per_viewer']}/s each"
                )
        slow = one_slow(running, sessions[:SLOW_AMONG], 2.5 * seconds)
    median = [sorted(found, key=lambda row: row["p95_ms"])[(len(found) - 1) // 2] for found in rows.values()]
    save("viewers", {"robots": ROBOTS, "seconds": seconds, "rows": median, "slow": slow})


def one_slow(running: Running, sessions: list[str], seconds: float) -> dict[str, Any]:
    """The others' results and the server's memory while all read, and while the first does not."""
    rows = []
    for name, slow in (("all read", 0), ("one does not", 1)):
        with viewers(running, sessions, slow=slow) as watched:
            measure(CONTENDERS["this-rest"], running, ROBOTS, seconds)
            web = processes.resident_mb(running.process.pid, contenders.label).get("web", 0)
        told = orjson.loads(watched.stdout.read()) if watched.stdout else {}
        rows.append(
            {
                "when": name,
                "per_viewer": round(told["results"] / (len(sessions) - slow) / told["seconds"], 1),
                "worst_gap_ms": round(1000 * told["worst_gap"]),
                "web_mb": round(web),
            }
        )
        say(f"{name}: {rows[-1]}")
    return {"viewers": len(sessions), "seconds": seconds, "rows": rows}


@contextmanager
def viewers(running: Running, sessions: list[str], *, slow: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """So many viewers, in a process of their own; the first ``slow`` of them stop reading. It prints what they saw."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.viewers", "--watch", str(len(sessions))),
            *("--slow", str(slow), "--port", str(running.port)),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(" ".join(sessions).encode() + b"\n")
    process.stdin.flush()
    if process.stdout.readline() != b"watching\n":
        raise RuntimeError("The viewers did not come to watch.")
    try:
        yield process
    finally:
        process.stdin.close()  # it ends when there is nothing more to read


async def watch(port: int, sessions: list[str], *, slow: int) -> None:
    """Be the viewers until standard input ends."""
    loop = asyncio.get_running_loop()
    seen = {"results": 0, "worst_gap": 0.0}
    began = [float("inf")]

    async def one(session: str, reads: bool, here: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(
            (
                f"GET /ws/inference?collection=bench HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                f"Origin: http://127.0.0.1:{port}\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
                f"Sec-WebSocket-Version: 13\r\nCookie: sessionid={session}\r\n\r\n"
            ).encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(head.decode("latin-1"))
        kind, hello = await _message(reader, writer)
        if kind != 1 or b'"hello"' not in hello:
            raise ConnectionError(f"refused: {hello!r}")
        here.set()
        if not reads:
            writer.write(_frame(1, b'{"type":"ack","n":0}'))
            await asyncio.Event().wait()
        handled, last = 0, 0.0
        while True:
            kind, payload = await _message(reader, writer)
            if kind != 1:
                raise ConnectionError(f"closed: {payload!r}")
            if b'"type":"result"' not in payload[:40]:
                continue
            now = loop.time()
            if now > began[0]:
                seen["results"] += 1
                if last > began[0]:
                    seen["worst_gap"] = max(seen["worst_gap"], now - last)
            last = now
            handled += 1
            if handled >= ACK_EVERY:
                writer.write(_frame(1, b'{"type":"ack","n":%d}' % handled))
                handled = 0

    tasks = []
    for number, session in enumerate(sessions):
        here = asyncio.Event()
        tasks.append(asyncio.create_task(one(session, number >= slow, here)))
        if number % 20 == 19:  # browsers do not all open in the same millisecond
            arrived = asyncio.create_task(here.wait())
            await asyncio.wait([arrived, *tasks], return_when=asyncio.FIRST_COMPLETED)
            _raise_lost(tasks)
    await asyncio.sleep(1 if sessions else 0)
    sys.stdout.write("watching\n")
    sys.stdout.flush()
    began[0] = loop.time() + 2
    await loop.run_in_executor(None, sys.stdin.read)
    _raise_lost(tasks)
    sys.stdout.buffer.write(orjson.dumps({**seen, "seconds": loop.time() - began[0]}) + b"\n")
    sys.stdout.flush()
    os._exit(0)


def _raise_lost(viewers: list[asyncio.Task[None]]) -> None:
    """Nobody of whom a figure tells may be missing. Raises ``RuntimeError``."""
    lost = [task for task in viewers if task.done()]
    if lost:
        raise RuntimeError(f"{len(lost)} viewers were refused or closed, the first: {lost[0].exception()}")


async def _message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    while True:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", await reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await reader.readexactly(8))
        payload = await reader.readexactly(length)
        if first & 0x0F == 9:
            writer.write(_frame(10, payload))
            continue
        return first & 0x0F, payload


def _web_cpu(running: Running) -> float:
    return processes.cpu_seconds(running.process.pid, contenders.label).get("web", 0.0)


def _made_sessions(running: Running, count: int) -> list[str]:
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.viewers", "--make", str(count)],
        cwd=ROOT,
        env=running.environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return made.stdout.split()


def make_sessions(count: int) -> None:
    """So many members of the benchmark's collection, each logged in; prints one session key a line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vla_project.settings.local")
    import django

    django.setup()
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.cached_db import SessionStore

    from accounts.choices import Role
    from accounts.models import User
    from collections_app.models import Collection, Membership

    collection = Collection.objects.get(slug="bench")
    people = User.objects.bulk_create(User(username=f"viewer-{number}", password="!") for number in range(count))
    Membership.objects.bulk_create(Membership(collection=collection, user=user, role=Role.VIEWER) for user in people)
    for user in people:
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        say(str(session.session_key))


if __name__ == "__main__":
    main()
