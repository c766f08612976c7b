"""The path from a robot to its answer with an accelerator that takes no time: what each process and each step costs.

    python -m benchmarks.path [--robots 32] [--seconds 5]

First the whole system under load; then each step alone, on a PostgreSQL and a Redis of its own, in microseconds of this
process's CPU (``take and answer in Redis`` are Redis' own). Writes ``var/bench/path.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import contenders, feedback_queue, inference, observations
from benchmarks.collection import INSTANT, create
from benchmarks.contenders import BENCH
from benchmarks.results import save, say

BATCH = 32
REPEATS = 300
SUBMITTED = 6 * BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robots", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    BENCH.mkdir(parents=True, exist_ok=True)
    processes = under_load(options.robots, options.seconds)
    with tempfile.TemporaryDirectory(dir=BENCH, prefix="path.") as folder:
        Path(folder).chmod(0o755)  # as root the servers run as somebody else
        with feedback_queue.services(Path(folder)):
            steps = alone()
    for row in [*processes, *steps]:
        say("  ".join(f"{value:>10}" if isinstance(value, float) else f"{value:34}" for value in row.values()))
    save("path", {"robots": options.robots, "seconds": options.seconds, "processes": processes, "steps": steps})


def under_load(robots: int, seconds: float) -> list[dict[str, Any]]:
    """CPU of each process for one request, and how many requests a second one core of it would serve."""
    contender = dataclasses.replace(inference.CONTENDERS["this-rest"], model=INSTANT)
    with contender.start() as running:
        inference.measure(contender, running, 1, 1)
        contenders.until_settled(running)
        row = inference.measure(contender, running, robots, seconds)
    costs = {name: ms for name, ms in row["cpu_ms_per_request"].items() if name not in ("load", "other")}
    costs["all of them"] = round(sum(costs.values()), 3)
    return [{"process": name, "cpu_ms": ms, "per_core": float(round(1000 / ms))} for name, ms in costs.items()]


def alone() -> list[dict[str, Any]]:
    """Microseconds of CPU for one request in each step."""
    import numpy as np

    from accounts import credentials
    from collections_app import snapshots
    from inference import images
    from inference.engine.routing import choose_version
    from inference.engine.submission import Submission, content_digest, from_fields, to_fields
    from inference.results import answer_body
    from inference.robot_api import decoding
    from inference.safety import SafetyChecker

    token = create(robots=1)[0]
    snapshot = snapshots.get("bench")
    assert snapshot is not None
    body = observations.json_body(0, 0, model=INSTANT)
    fields = decoding.read_json(body)
    request = decoding.validate(fields, snapshot)
    credential = credentials.authenticate(token, ip_address="127.0.0.1")
    version = choose_version(snapshot, model=INSTANT, sticky="").version_id
    content: dict[str, Any] = {
        "robot": request.robot,
        "episode": request.episode,
        "step": request.step,
        "instruction": request.instruction,
        "state": request.state,
        "images": request.images,
    }

    def digest() -> bytes:
        return content_digest(collection_id=snapshot.id, model=INSTANT, **content)

    from core.identifiers import uuid7

    def submission() -> Submission:
        return Submission(
            request_id=uuid7(),
            collection_slug="bench",
            collection_id=snapshot.id,
            version_id=version,
            deadline_ms=5000,
            accepted_at=time.time(),
            reply_to="",
            digest=b"",
            **content,
        )

    one = submission()
    packed = to_fields(one)
    queued = {
        name.encode() if isinstance(name, str) else name: value if isinstance(value, bytes) else value.encode()
        for name, value in zip(packed[::2], packed[1::2], strict=True)
    }
    checker = SafetyChecker(snapshot.dimensions, control_rate_hz=snapshot.control_rate_hz, mode=snapshot.safety_mode)
    chunks = np.random.default_rng(0).uniform(-0.02, 0.02, (BATCH, snapshot.horizon, len(snapshot.dimensions)))
    verdict = checker.check(chunks[:1])[0]
    jpegs = [image.data for image in request.images.values()]

    def answer() -> bytes:
        return answer_body(
            request_id=one.request_id,
            actions=verdict.actions,
            model_name="instant",
            model_version="1",
            safety=verdict.as_dict(),
            cached=False,
            timing={"queue_ms": 0.4, "inference_ms": 21.0, "total_ms": 24.0, "batch_size": 4},
        )

    steps: list[tuple[str, Callable[[], object], int]] = [
        ("authenticate the key (known)", lambda: credentials.authenticate(token, ip_address="127.0.0.1"), 1),
        ("parse JSON, strictly", lambda: decoding.read_json(body), 1),
        ("validate, base64, image headers", lambda: decoding.validate(fields, snapshot), 1),
        ("digest of the content", digest, 1),
        ("choose the version", lambda: choose_version(snapshot, model=INSTANT, sticky="arm-0"), 1),
        ("pack for the queue", lambda: to_fields(one), 1),
        ("unpack from the queue", lambda: from_fields(queued), 1),
        ("decode two JPEG views", lambda: [images.decode(data) for data in jpegs], 1),
        (f"check safety (batch of {BATCH})", lambda: checker.check(chunks), BATCH),
        ("build the answer", answer, 1),
    ]
    rows = [{"step": name, "us": timed(work, share)} for name, work, share in steps]
    rows += in_redis(submission, credential, version, answer())
    return rows


def in_redis(submission: Callable[[], Any], credential: Any, version: Any, body: bytes) -> list[dict[str, Any]]:
    """Redis' own CPU for the two scripts, the second for a batch of ``BATCH``; and the web process's to submit one."""

    from core.redis import engine_redis
    from inference.engine import keys
    from inference.engine.finisher import Finished, Finisher
    from inference.engine.gateway import Gateway
    from inference.engine.submission import QueuedItem, from_fields

    client = engine_redis()
    unlimited = dataclasses.replace(credential, burst=1_000_000, rate=1_000_000.0)

    async def submit_all() -> float:
        gateway = Gateway()
        await gateway._queue(submission(), unlimited)
        started = time.process_time()
        for _ in range(SUBMITTED // BATCH):
            await asyncio.gather(*(gateway._queue(submission(), unlimited) for _ in range(BATCH)))
        used = time.process_time() - started
        await gateway.close()
        return used

    before = _redis_cpu(client)
    submitting = asyncio.run(submit_all())
    queueing = _redis_cpu(client) - before
    client.xgroup_create(keys.queue(version), keys.WORKERS_GROUP, id="0")
    entries = client.xreadgroup(keys.WORKERS_GROUP, "bench", {keys.queue(version): ">"}, count=SUBMITTED)[0][1]
    finisher = Finisher(lambda _sent: None)
    groups = []
    for start in range(0, len(entries), BATCH):
        group = []
        for entry_id, fields in entries[start : start + BATCH]:
            item = QueuedItem(entry_id, from_fields(fields), fields, False)
            record: list[bytes | str] = ["digest", b"", "answer", body]
            for name, value in fields.items():
                if name not in (b"digest", b"probe"):
                    record += [name, value]
            group.append(Finished(item, 200, body, keys.answer(item.submission.request_id), record))
        groups.append(group)
    before = _redis_cpu(client)
    started = time.process_time()
    for group in groups:
        finisher._send(group)
    finishing = time.process_time() - started
    answering = _redis_cpu(client) - before
    finisher.close(5)
    return [
        {"step": name, "us": round(1e6 * seconds / len(entries), 1)}
        for name, seconds in (
            ("submit (web process)", submitting),
            ("take a token and queue (Redis)", queueing),
            (f"finish a batch of {BATCH} (worker)", finishing),
            (f"answer, record, leave the queue, batch of {BATCH} (Redis)", answering),
        )
    ]


def _redis_cpu(client: Any) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])


def timed(work: Callable[[], object], share: int) -> float:
    """Microseconds of CPU of ``work`` for one of the ``share`` requests that it serves."""
    work()
    started = time.process_time()
    for _ in range(REPEATS):
        work()
    return round(1e6 * (time.process_time() - started) / REPEATS / share, 1)


if __name__ == "__main__":
    main()
