"""From a batch's results to answers on their way: reply, record and leave the queue in one atomic step.

Redis may be killed at any moment. With ``appendfsync everysec`` it may then forget what it acknowledged while a flush
was under way, so the finisher keeps what it finished in the last seconds and sends it again whenever it has lost the
connection. The script behind it makes a second sending harmless.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis
import structlog
from django.conf import settings

from core.dedicated_redis import DedicatedRedis
from core.redis import UNAVAILABLE
from inference.engine import keys, scripts
from inference.engine.submission import QueuedItem

logger = structlog.get_logger(__name__)

_TAIL_SECONDS = 5.0
_TAIL_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class Finished:
    """One item's end: ``status`` 200 with the answer, or a problem. ``record`` are the recorder's extra fields."""

    item: QueuedItem
    status: int
    body: bytes
    answer_key: str
    record: list[bytes | str] = field(default_factory=list)
    confirms_probe: bool = False


class Finisher:
    """Sends finished items on a thread of its own, all that wait at a time, so that the model's thread goes on."""

    def __init__(self, sent: Callable[[Sequence[Finished]], None]) -> None:
        self._redis = DedicatedRedis()
        self._sent = sent
        self._queue: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()
        self._tail: deque[tuple[float, int, list[Finished]]] = deque()
        self._tail_bytes = 0
        self._thread = threading.Thread(target=self._loop, name="finisher", daemon=True)
        self._thread.start()

    def put(self, finished: Finished) -> None:
        self._queue.put(finished)

    def close(self, timeout: float | None = None) -> None:
        """Send what waits, then end."""
        self._queue.put(None)
        self._thread.join(timeout)
        self._redis.close()

    def _loop(self) -> None:
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            closing = None in batch
            items = [finished for finished in batch if finished is not None]
            by_queue: dict[str, list[Finished]] = {}
            for finished in items:
                by_queue.setdefault(finished.item.submission.version_id.hex, []).append(finished)
            for group in by_queue.values():
                self._send_surely(group)
            if items:
                self._tell(items)
            if closing:
                return

    def _tell(self, items: Sequence[Finished]) -> None:
        try:
            self._sent(items)
        except Exception:  # showing an answer must never stop the next one
            logger.exception("finisher.not_told")

    def _send_surely(self, group: list[Finished]) -> None:
        lost = False
        pause = 0.02
        while True:
            try:
                if lost:
                    for _, _, earlier in list(self._tail):
                        self._send(earlier)
                self._send(group)
                break
            except UNAVAILABLE as error:
                if not lost:
                    logger.warning("finisher.disconnected", error=type(error).__name__, items=len(group))
                lost = True
                time.sleep(pause)
                pause = min(pause * 2, 0.5)
            except redis.exceptions.ResponseError as error:
                logger.error("finisher.refused", error=str(error))
                time.sleep(pause)
                pause = min(pause * 2, 0.5)
        self._remember(group)

    def _send(self, group: Sequence[Finished]) -> None:
        version = group[0].item.submission.version_id
        arguments: list[bytes | str | int] = [keys.WORKERS_GROUP, settings.INFERENCE["ANSWER_SECONDS"], len(group)]
        for finished in group:
            submission = finished.item.submission
            arguments += [
                finished.item.entry_id,
                submission.request_id.hex,
                finished.answer_key,
                keys.replies(submission.reply_to) if submission.reply_to else "",
                finished.status,
                finished.body,
                "1" if finished.confirms_probe else "0",
                finished.item.size,
                len(finished.record),
                *finished.record,
            ]
        self._redis.run(
            scripts.FINISH,
            [keys.queue(version), keys.records(), keys.backlog(), keys.circuit(version), keys.probe(version)],
            arguments,
        )

    def _remember(self, group: list[Finished]) -> None:
        now = time.monotonic()
        size = sum(finished.item.size for finished in group)
        self._tail.append((now, size, group))
        self._tail_bytes += size
        while self._tail and (self._tail[0][0] < now - _TAIL_SECONDS or self._tail_bytes > _TAIL_BYTES):
            self._tail_bytes -= self._tail.popleft()[1]
