"""Whatever a policy returns, nothing outside the limits leaves the worker: through its own batcher, check and end."""

from __future__ import annotations

import math
import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from collections_app.models import Collection
from inference.engine.clock import RedisClock
from inference.engine.finisher import Finished
from inference.engine.served_version import ServedVersion
from inference.engine.submission import EncodedImage, Submission, to_fields
from inference.policies.base import ActionChunk, Observation
from inference.policies.simulated import SimulatedPolicy
from tests.factories import CollectionFactory, PolicyVersionFactory
from tests.inference.conftest import jpeg

HORIZON, WIDTH = 8, 7
PICTURE = EncodedImage(jpeg(size=(32, 32)), "jpeg")
START = 0.3


class Anything(SimulatedPolicy):
    """Returns what it is told to."""

    returned: Any = None

    def infer(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return self.returned if isinstance(self.returned, list) else [self.returned]


@pytest.fixture
def finished() -> queue.SimpleQueue[Finished]:
    return queue.SimpleQueue()


@pytest.fixture
def policy() -> Anything:
    made = Anything.from_options({"cameras": "base", "image_size": "32x32"})
    made.load()
    return made


@pytest.fixture
def served(transactional_db: None, policy: Anything, finished: queue.SimpleQueue[Finished]) -> Iterator[ServedVersion]:
    registered = PolicyVersionFactory()
    with ThreadPoolExecutor(1) as decoders:
        made = ServedVersion(
            version_id=registered.pk,
            name=registered.name,
            version=registered.version,
            policy=policy,
            worker_name="worker",
            clock=RedisClock(),
            decoders=decoders,
            finish=finished.put,
            max_batch=4,
        )
        yield made
        made.close()


def limited(mode: str) -> Collection:
    """A collection of which every rule has something to say."""
    collection = CollectionFactory(cameras=["base"], horizon=HORIZON, safety_mode=mode)
    collection.action_space.dimensions.update(low=-0.5, high=0.5, max_step_change=0.2, max_velocity=3.0)
    first = collection.action_space.dimensions.get(position=0)
    first.workspace_state, first.workspace_low, first.workspace_high = "joint_2", 0.0, 0.6
    first.save()
    return collection


def ask(served: ServedVersion, collection: Collection) -> None:
    submission = Submission(
        request_id=uuid.uuid4(),
        collection_slug=collection.slug,
        collection_id=collection.pk,
        version_id=served.version_id,
        robot="arm",
        episode="",
        step=None,
        instruction="move",
        state=[START] * 7,
        images={"base": PICTURE},
        deadline_ms=60_000,
        accepted_at=time.time(),
        reply_to="",
    )
    fields = to_fields(submission)
    pairs = {
        name.encode() if isinstance(name, str) else name: value if isinstance(value, bytes) else value.encode()
        for name, value in zip(fields[::2], fields[1::2], strict=True)
    }
    served.adopt([(f"{time.time_ns() // 1_000_000}-0".encode(), {b"probe": b"0", **pairs})])


numbers = st.floats(width=32) | st.floats(-1, 1, width=32)
chunks = st.one_of(
    arrays.arrays(np.float32, (HORIZON, WIDTH), elements=numbers),
    arrays.arrays(np.float64, (HORIZON, WIDTH), elements=st.floats(-0.7, 0.7)),
    arrays.arrays(np.float64, (HORIZON, WIDTH), elements=st.sampled_from([-0.5, 0.0, 0.1, 0.5, 0.50000001, 1e300])),
    arrays.arrays(st.sampled_from([np.int64, np.bool_, np.float16, "U1", object]), (HORIZON, WIDTH)),
    arrays.arrays(np.float32, arrays.array_shapes(max_dims=4, max_side=9), elements=numbers),
    st.lists(st.lists(st.floats(), max_size=WIDTH), max_size=HORIZON),
)
returned = st.one_of(
    st.builds(ActionChunk, chunks, st.none() | st.floats()),
    chunks,
    st.none() | st.text(max_size=3) | st.integers(),
    st.lists(st.builds(ActionChunk, chunks), max_size=3),
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(what=returned, mode=st.sampled_from(["clamp", "reject"]))
def test_whatever_a_policy_returns_no_action_outside_the_limits_is_ever_sent(
    served: ServedVersion, policy: Anything, finished: queue.SimpleQueue[Finished], what: Any, mode: str
) -> None:
    collection = _collections.setdefault((served.version_id, mode), None) or limited(mode)
    _collections[served.version_id, mode] = collection
    policy.returned = what
    ask(served, collection)
    end = finished.get(timeout=10)
    body = orjson.loads(end.body)
    if end.status != 200:
        assert end.status in (500, 502)
        assert "actions" not in body
        assert end.record == []
        return
    assert end.record[end.record.index("answer") + 1] == end.body
    actions = body["actions"]
    if body["safety"]["verdict"] == "rejected":
        assert actions == []
        return
    assert mode == "clamp" or body["safety"]["violations"] == []
    sent = np.array(actions, np.float64)
    assert sent.shape == (HORIZON, WIDTH)
    assert np.isfinite(sent).all()
    assert (np.abs(sent) <= 0.5).all()
    assert (np.abs(np.diff(sent, axis=0)) <= min(0.2, 3.0 / collection.action_space.control_rate_hz) + 1e-12).all()
    places = START + np.cumsum(sent[:, 0])
    assert (places >= 0.0 - 1e-12).all()
    assert (places <= 0.6 + 1e-12).all()


_collections: dict[tuple[uuid.UUID, str], Collection | None] = {}


def test_a_chunk_inside_the_limits_arrives_as_it_was(
    served: ServedVersion, policy: Anything, finished: queue.SimpleQueue[Finished]
) -> None:
    policy.returned = ActionChunk(np.zeros((HORIZON, WIDTH), np.float32))
    ask(served, limited("reject"))
    end = finished.get(timeout=10)
    assert end.status == 200
    assert not any(map(math.fsum, orjson.loads(end.body)["actions"]))
