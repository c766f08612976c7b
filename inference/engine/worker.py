"""The inference worker: loads the deployed policy versions and serves their queues until told to stop."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections

from core.redis import UNAVAILABLE, engine_redis
from inference import live
from inference.engine import keys, registry
from inference.engine.accelerators import AcceleratorReporter
from inference.engine.clock import RedisClock
from inference.engine.finisher import Finished, Finisher
from inference.engine.served_version import ServedVersion
from inference.engine.submission import QueuedItem, to_fields

logger = structlog.get_logger(__name__)

_REGISTRY_SECONDS = 2.0
_BEAT_SECONDS = 0.5
_RETIRE_GRACE_SECONDS = 2.0
_SHADOW_QUEUE = 64


class InferenceWorker:
    """One process's engine: one policy thread for each version, a finisher, and a keeper that watches the registry."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._clock = RedisClock()
        self._decoders = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="decoder")
        self._finisher = Finisher(self._after_sending)
        self._served: dict[uuid.UUID, ServedVersion] = {}
        self._failed: dict[uuid.UUID, str] = {}
        self._unwanted_since: dict[uuid.UUID, float] = {}
        self._publisher = live.Publisher()
        self._accelerators = AcceleratorReporter(self.name)
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="engine-keeper", daemon=True)
        self._heart = threading.Thread(target=self._beat, name="engine-heartbeat", daemon=True)

    def start(self) -> None:
        self._keeper.start()
        self._heart.start()

    def stop(self) -> None:
        """Drain: read no more, finish and answer what was read, release the policies."""
        self._stopping.set()
        self._changed.set()
        self._keeper.join(30)
        for served in list(self._served.values()):
            served.close()
        self._finisher.close(30)
        self._decoders.shutdown(wait=False)
        self._heart.join(5)
        try:
            registry.bury(self.name)
        except UNAVAILABLE:
            logger.warning("worker.heartbeat_left_to_expire", worker=self.name)

    # --- the keeper: which versions are served ---

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            try:
                self._clock.synchronise(engine_redis())
                self._follow_registry()
                self._adopt_from_the_dead()
            except (*UNAVAILABLE, redis.exceptions.RedisError, DatabaseError) as error:
                logger.warning("worker.registry_unreachable", error=type(error).__name__)
            finally:
                close_old_connections()
            self._changed.wait(_REGISTRY_SECONDS)
        connections.close_all()

    def _follow_registry(self) -> None:
        wanted = {version.id: version for version in registry.deployed_versions()}
        for version in wanted.values():
            fingerprint = version.fingerprint()
            if version.id not in self._served and self._failed.get(version.id) != fingerprint:
                self._load(version, fingerprint)
            if self._stopping.is_set():
                return
        now = time.monotonic()
        for version_id in list(self._served):
            if version_id in wanted:
                self._unwanted_since.pop(version_id, None)
                continue
            since = self._unwanted_since.setdefault(version_id, now)
            # Web processes may send to it for half a second more; whatever is queued is served before it goes.
            if now - since > _RETIRE_GRACE_SECONDS and self._served[version_id].idle:
                self._unload(version_id)

    def _load(self, version: registry.DeployedVersion, fingerprint: str) -> None:
        started = time.monotonic()
        try:
            policy = registry.build_policy(version)
            policy.load()
        except Exception as error:  # a user's own class may raise anything; the registry shows it
            logger.exception("policy.load_failed", policy=str(version))
            self._failed[version.id] = fingerprint
            registry.report_failed(version.id, str(error))
            return
        self._failed.pop(version.id, None)
        self._served[version.id] = ServedVersion(
            version_id=version.id,
            name=version.name,
            version=version.version,
            policy=policy,
            worker_name=self.name,
            clock=self._clock,
            decoders=self._decoders,
            finish=self._finisher.put,
            max_batch=min(settings.INFERENCE["MAX_BATCH"], version.max_batch or settings.INFERENCE["MAX_BATCH"]),
        )
        registry.report_ready(version.id, policy.info)
        self._announce()
        logger.info("policy.loaded", policy=str(version), seconds=round(time.monotonic() - started, 2))

    def _unload(self, version_id: uuid.UUID) -> None:
        served = self._served.pop(version_id)
        self._unwanted_since.pop(version_id, None)
        served.close()
        logger.info("policy.unloaded", policy=f"{served.name}@{served.version}")

    def _adopt_from_the_dead(self) -> None:
        """Take over what a worker without a heartbeat had read and not answered."""
        client = engine_redis()
        for version_id, served in list(self._served.items()):
            stream = keys.queue(version_id)
            try:
                consumers = client.xinfo_consumers(stream, keys.WORKERS_GROUP)
            except redis.exceptions.ResponseError:
                continue
            for consumer in consumers:
                name = consumer["name"].decode()
                if name == self.name or registry.is_alive(name):
                    continue
                if consumer["pending"]:
                    pending = client.xpending_range(stream, keys.WORKERS_GROUP, "-", "+", 64, consumername=name)
                    claimed = client.xclaim(
                        stream,
                        keys.WORKERS_GROUP,
                        self.name,
                        min_idle_time=0,
                        message_ids=[p["message_id"] for p in pending],
                    )
                    logger.warning("worker.adopted", dead=name, items=len(claimed))
                    served.adopt(claimed)
                else:
                    client.xgroup_delconsumer(stream, keys.WORKERS_GROUP, name)

    # --- the heartbeat ---

    def _beat(self) -> None:
        while not self._stopping.wait(0.1):
            try:
                control = engine_redis().pubsub(ignore_subscribe_messages=True)
                control.subscribe(keys.control())
                next_beat = 0.0
                while not self._stopping.is_set():
                    if time.monotonic() >= next_beat:
                        next_beat = time.monotonic() + _BEAT_SECONDS
                        self._announce()
                        self._accelerators.beat()
                    if control.get_message(timeout=0.1):
                        self._changed.set()
            except UNAVAILABLE:
                continue

    def _announce(self) -> None:
        try:
            registry.beat(self.name, list(self._served))
        except UNAVAILABLE:
            logger.debug("worker.heartbeat_missed")

    # --- after an answer ---

    def _after_sending(self, finished: Sequence[Finished]) -> None:
        """Off the hot path: show it to viewers, hand it to the shadows."""
        answered = [one for one in finished if one.status == 200 and not one.item.submission.is_shadow]
        try:
            self._publisher.publish(answered)
            for one in answered:
                for version_id in one.item.submission.shadow_version_ids:
                    self._cast_shadow(one.item, version_id)
        except (*UNAVAILABLE, redis.exceptions.RedisError) as error:
            logger.warning("live.not_published", error=type(error).__name__)

    def _cast_shadow(self, item: QueuedItem, version_id: uuid.UUID) -> None:
        client = engine_redis()
        if client.xlen(keys.queue(version_id)) >= _SHADOW_QUEUE:
            return
        shadow = replace(
            item.submission, version_id=version_id, is_shadow=True, shadow_version_ids=(), reply_to="", use_cache=False
        )
        fields = to_fields(shadow)
        client.xadd(
            keys.queue(version_id),
            {"probe": "0", **dict(zip(fields[::2], fields[1::2], strict=True))},
        )
