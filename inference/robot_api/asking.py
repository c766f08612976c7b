"""One validated observation, asked of the engine: what every dialect does once it has understood its robot."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Histogram

from accounts.credentials import Credential
from collections_app.snapshots import CollectionSnapshot
from core.identifiers import uuid7
from core.problems import Problem
from inference.engine.gateway import Answer, Gateway
from inference.engine.routing import choose_version, shadow_versions
from inference.engine.submission import Submission, content_digest
from inference.robot_api import decoding

ANSWERS = Counter("vla_inference_answers_total", "Answers to robots", ["collection", "status"])
SECONDS = Histogram(
    "vla_inference_seconds",
    "From a request's arrival to its answer",
    ["collection"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5),
)


async def ask(
    fields: Mapping[str, Any],
    snapshot: CollectionSnapshot,
    credential: Credential,
    gateway: Gateway,
    *,
    accepted_at: float,
    connection: str = "",
) -> Answer:
    """Validate ``fields`` and ask. ``connection`` names a robot that names neither itself nor its episode.

    ``accepted_at`` is in Unix seconds. Raises ``Problem``.
    """
    started = time.perf_counter()
    status = 200
    try:
        request = decoding.validate(fields, snapshot)
        sticky = request.episode or request.robot or connection
        chosen = choose_version(snapshot, model=request.model, sticky=sticky)
        deadline = request.deadline_ms or snapshot.default_deadline_ms
        submission = Submission(
            request_id=request.request_id or uuid7(),
            collection_slug=snapshot.slug,
            collection_id=snapshot.id,
            version_id=chosen.version_id,
            robot=request.robot or connection,
            episode=request.episode,
            step=request.step,
            instruction=request.instruction,
            state=request.state,
            images=request.images,
            deadline_ms=max(1, deadline - int((time.time() - accepted_at) * 1000)),
            accepted_at=accepted_at,
            reply_to=gateway.name,
            digest=content_digest(
                collection_id=snapshot.id,
                model=request.model or "",
                robot=request.robot,
                episode=request.episode,
                step=request.step,
                instruction=request.instruction,
                state=request.state,
                images=request.images,
            ),
            use_cache=request.cache,
            shadow_version_ids=shadow_versions(snapshot),
        )
        return await gateway.ask(submission, credential, client_chose_id=request.request_id is not None)
    except Problem as problem:
        status = problem.status
        raise
    finally:
        ANSWERS.labels(collection=snapshot.slug, status=status).inc()
        SECONDS.labels(collection=snapshot.slug).observe(time.perf_counter() - started)
