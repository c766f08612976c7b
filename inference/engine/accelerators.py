"""How full and how busy the workers' GPUs are: workers read it, Redis carries it, ``/metrics`` of the web shows it.

Nothing is read, and nothing shown, where no policy uses a GPU. Utilisation needs NVIDIA's management library for Python
(``nvidia-ml-py``) and is left out without it.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson
import redis
import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.redis import engine_redis
from inference.engine import keys

logger = structlog.get_logger(__name__)

_EVERY_SECONDS = 5.0
_KEPT_SECONDS = 20
_LABELS = ("host", "device", "name")
_GAUGES = (
    ("used", "vla_accelerator_memory_used_bytes", "Memory of the GPU that is taken, by whomever"),
    ("total", "vla_accelerator_memory_total_bytes", "Memory of the GPU"),
    ("reserved", "vla_accelerator_memory_reserved_bytes", "Memory of the GPU that inference workers hold"),
    ("utilisation", "vla_accelerator_utilisation_ratio", "Share of the last moments in which the GPU computed"),
)


def readings() -> list[dict[str, Any]]:
    """One entry for each GPU on which this process holds memory; bytes, and ``utilisation`` in 0..1 where known."""
    torch = _imported("torch")
    # A process whose policies use no torch has none, and one whose torch has met no GPU must not start one to ask.
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        reserved = torch.cuda.memory_reserved(index)
        if not reserved:
            continue
        free, total = torch.cuda.mem_get_info(index)
        properties = torch.cuda.get_device_properties(index)
        entry = {
            "device": str(getattr(properties, "uuid", index)),
            "name": properties.name,
            "reserved": reserved,
            "used": total - free,
            "total": total,
        }
        try:
            entry["utilisation"] = torch.cuda.utilization(index) / 100
        except Exception:  # no library, no driver for it, or a kind of GPU that does not tell: each its own class
            logger.debug("accelerator.utilisation_unknown", exc_info=True)
        found.append(entry)
    return found


def _imported(name: str) -> Any:
    """The module, or None where nobody has imported it to its end.

    While another thread imports it, it stands in ``sys.modules`` with half of its names; an ``import`` here would wait
    for seconds, and the heartbeat with it. So what the import system itself goes by is asked.
    """
    module = sys.modules.get(name)
    being_imported = getattr(getattr(module, "__spec__", None), "_initializing", False)
    return None if being_imported else module


class AcceleratorReporter:
    """A worker's side: ``beat`` as often as you like, it reads every few seconds."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._next = 0.0
        self._warned = False

    def beat(self) -> None:
        """Raises nothing: a driver that fails must not stop the heartbeat."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        try:
            found = readings()
            if found:
                report = {"host": socket.gethostname(), "accelerators": found}
                engine_redis().set(keys.accelerators(self._worker), orjson.dumps(report), ex=_KEPT_SECONDS)
        except Exception:
            if not self._warned:
                logger.warning("accelerator.not_reported", exc_info=True)
            self._warned = True


class AcceleratorCollector(Collector):
    """The web's side: asks Redis when Prometheus asks."""

    def describe(self) -> list[Any]:
        """Nothing: what there is depends on the workers."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        devices = _devices()
        for field, name, told in _GAUGES:
            gauge = GaugeMetricFamily(name, told, labels=_LABELS)
            for labels, entry in devices.items():
                if field in entry:
                    gauge.add_metric(labels, entry[field])
            if gauge.samples:
                yield gauge


def _devices() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Labels to the newest reading; workers on one GPU are one entry, and what they hold is added up."""
    client = engine_redis()
    try:
        names = sorted(client.smembers(keys.workers()))
        reports = client.mget([keys.accelerators(name.decode()) for name in names]) if names else []
    except (redis.exceptions.RedisError, OSError):
        return {}
    devices: dict[tuple[str, str, str], dict[str, Any]] = {}
    for report in (orjson.loads(raw) for raw in reports if raw is not None):
        for entry in report["accelerators"]:
            labels = (report["host"], entry["device"], entry["name"])
            known = devices.setdefault(labels, {**entry, "reserved": 0})
            known["reserved"] += entry["reserved"]
    return devices
