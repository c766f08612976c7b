"""The engine's keys and channels in Redis, in one place.

==========================  =========================================================================================
``queue:<version>``         stream of waiting observations for one policy version; consumer group ``workers``
``records``                 stream of answered observations that the recorder has not yet written; group ``recorders``
``backlog``                 how many bytes ``records`` holds
``answer:<request>``        hash: ``d`` digest of the request, ``a`` the answer until it is recorded, ``r`` once it is
``circuit:<version>``       hash: ``failures`` in a row, ``until`` when it closes for a probe (Redis milliseconds)
``probe:<version>``         the one request that tests a half-open circuit
``worker:<name>``           heartbeat of an inference worker: the versions that it has loaded
``accelerators:<name>``     what an inference worker's GPUs hold and do, forgotten after some seconds
``workers``                 set: the names of workers that beat lately
``replies:<process>``       channel: answers for one web process
``live:<collection>``       channel: what viewers of a collection see
``control``                 channel: something changed in the registry of policy versions
``frame:<collection>:…``    the image of a request by a camera, kept while somebody watches
==========================  =========================================================================================
"""

from __future__ import annotations

import uuid

from core import redis

WORKERS_GROUP = "workers"
RECORDERS_GROUP = "recorders"


def key(*parts: uuid.UUID | str) -> str:
    return redis.key(*(part.hex if isinstance(part, uuid.UUID) else part for part in parts))


def queue(version_id: uuid.UUID | str) -> str:
    return key("queue", version_id)


def records() -> str:
    return key("records")


def backlog() -> str:
    return key("backlog")


def answer(request_id: uuid.UUID | str) -> str:
    return key("answer", request_id)


def circuit(version_id: uuid.UUID | str) -> str:
    return key("circuit", version_id)


def probe(version_id: uuid.UUID | str) -> str:
    return key("probe", version_id)


def worker(name: str) -> str:
    return key("worker", name)


def accelerators(name: str) -> str:
    return key("accelerators", name)


def workers() -> str:
    return key("workers")


def replies(process: str) -> str:
    return key("replies", process)


def live(collection_id: uuid.UUID | str) -> str:
    return key("live", collection_id)


def control() -> str:
    return key("control")


def frame(collection_id: uuid.UUID, request_id: uuid.UUID, camera: str) -> str:
    return key("frame", collection_id, request_id, camera)


def result_cache(version_id: uuid.UUID | str, digest: str) -> str:
    return key("cache", version_id, digest)
