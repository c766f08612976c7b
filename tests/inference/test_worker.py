"""The inference worker: policies that fail, circuits, drains, dead workers, caches, shadows and shares."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from redis.exceptions import ResponseError

from accounts.models import ApiKey
from collections_app import snapshots
from collections_app.models import Collection
from core.redis import engine_redis
from inference import services
from inference.choices import DeploymentRole
from inference.engine import keys
from inference.engine.registry import announce_change, loaded_versions
from inference.engine.routing import choose_version
from inference.engine.submission import EncodedImage, Submission, from_fields, to_fields
from inference.engine.worker import InferenceWorker
from inference.models import Deployment, InferenceResult, PolicyVersion
from inference.recorder import Recorder
from tests.factories import CollectionFactory, DeploymentFactory, PolicyVersionFactory
from tests.inference.conftest import jpeg, observation
from tests.inference.policies.faulty import Gated
from tests.inference.waiting import come_true, wait_until

URL = "/api/v1/inference"


def scripted(collection: Collection, fault: str, *, name: str = "Scripted") -> PolicyVersion:
    options = {"path": f"tests.inference.policies.faulty:{name}", "fault": fault}
    return DeploymentFactory(
        collection=collection, policy_version__backend="python", policy_version__options=options
    ).policy_version


@sync_to_async
def recorded(recorder: Recorder) -> list[InferenceResult]:
    recorder.drain()
    return list(InferenceResult.objects.order_by("created_at"))


# --- a policy that fails ---


@pytest.mark.parametrize(
    "fault", ["raise", "NaN", "infinity", "short", "narrow", "no chunk", "one too few", "confidence"]
)
class TestAPolicyThatFails:
    @pytest.fixture
    def version(self, collection: Collection, fault: str) -> PolicyVersion:
        return scripted(collection, fault)

    async def test_is_a_502_without_its_cause_and_is_never_recorded(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, recorder: Recorder
    ) -> None:
        body = observation(collection, instruction="fail", request_id=str(uuid.uuid4()))
        failed = await robot.post(URL, json=body)
        assert (failed.status_code, failed.json()["code"]) == (502, "policy_failed")
        assert "secret" not in failed.text
        assert "CUDA" not in failed.text
        well = await robot.post(URL, json={**body, "instruction": "go on"})  # its request id is free again
        assert well.status_code == 200
        assert [result.instruction for result in await recorded(recorder)] == ["go on"]


class TestAChunkThatIsClamped:
    @pytest.fixture
    def version(self, collection: Collection) -> PolicyVersion:
        return scripted(collection, "transposed beyond the limits")

    async def test_is_recorded_with_what_the_policy_said_and_its_confidence(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, recorder: Recorder
    ) -> None:
        answer = (await robot.post(URL, json=observation(collection, instruction="fail"))).json()
        assert answer["safety"]["verdict"] == "clamped"
        (result,) = await recorded(recorder)
        assert result.output_actions == answer["actions"] != result.proposed_actions
        assert result.proposed_actions == [[9.0] * 7] * 8
        assert result.confidence == 0.5
        violation = result.safety_violations[0]
        assert (violation["dimension"], violation["rule"]) == ("x", "position")
        assert (violation["value"], violation["limit"], violation["sent"]) == (9.0, 0.5, 0.5)


async def test_an_observation_that_breaks_the_worker_ends_alone(
    robot: httpx.AsyncClient,
    collection: Collection,
    worker: InferenceWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from inference import images

    decode = images.decode

    def broken(data: bytes) -> Any:
        if data == jpeg((1, 2, 3)):
            raise ZeroDivisionError
        return decode(data)

    monkeypatch.setattr(images, "decode", broken)
    packed = {"base": jpeg((1, 2, 3)), "wrist": jpeg()}
    from inference.robot_api import openpi_msgpack

    body = openpi_msgpack.pack(observation(collection, images=packed))
    with caplog.at_level(logging.CRITICAL):
        broke = await robot.post(URL, content=body, headers={"Content-Type": "application/msgpack"})
    assert (broke.status_code, broke.json()["code"]) == (500, "internal_error")
    assert (await robot.post(URL, json=observation(collection))).status_code == 200


# --- the circuit ---


class TestTheCircuit:
    @pytest.fixture
    def version(self, collection: Collection) -> PolicyVersion:
        return scripted(collection, "raise")

    @pytest.fixture(autouse=True)
    def _short(self, settings: Any) -> None:
        settings.INFERENCE = {**settings.INFERENCE, "CIRCUIT_FAILURES": 3, "CIRCUIT_OPEN_MS": 60_000}

    @staticmethod
    def let_probe(version: PolicyVersion) -> None:
        """The time of rest is over."""
        engine_redis().hset(keys.circuit(version.pk), "until", 1)

    async def test_opens_after_failures_in_a_row_and_a_good_probe_closes_it(
        self, robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion, worker: InferenceWorker
    ) -> None:
        failing, well = observation(collection, instruction="fail"), observation(collection)
        for _ in range(3):
            assert (await robot.post(URL, json=failing)).status_code == 502
        refused = await robot.post(URL, json=well)
        assert (refused.status_code, refused.json()["code"]) == (503, "circuit_open")

        self.let_probe(version)
        assert (await robot.post(URL, json=failing)).status_code == 502
        assert (await robot.post(URL, json=well)).status_code == 503, "a probe that fails opens it at once"

        self.let_probe(version)
        assert (await robot.post(URL, json=well)).status_code == 200
        assert (await robot.post(URL, json=failing)).status_code == 502
        assert (await robot.post(URL, json=well)).status_code == 200, "one failure after it is one failure"

    async def test_lets_one_probe_through_at_a_time(
        self, robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion
    ) -> None:
        """No worker runs here: the first probe is still under way."""
        self.let_probe(version)
        probing = asyncio.create_task(robot.post(URL, json=observation(collection, deadline_ms=1000)))
        await come_true(lambda: engine_redis().xlen(keys.queue(version.pk)))
        second = await robot.post(URL, json=observation(collection))
        assert (second.status_code, second.json()["code"]) == (503, "circuit_open")
        assert (await probing).status_code == 504

    async def test_a_success_between_failures_keeps_it_closed(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
    ) -> None:
        for instruction in ["fail", "fail", "well"] * 3:
            response = await robot.post(URL, json=observation(collection, instruction=instruction))
            assert response.status_code == (502 if instruction == "fail" else 200)

    async def test_repeated_rejections_open_it(
        self, robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion, worker: InferenceWorker
    ) -> None:
        collection.safety_mode = "reject"
        await collection.asave()
        await collection.action_space.dimensions.aupdate(low=0.2, high=0.3)
        verdicts = []
        while (response := await robot.post(URL, json=observation(collection))).status_code == 200:
            verdicts.append(response.json()["safety"]["verdict"])
        assert verdicts == ["rejected"] * 20
        assert response.json()["code"] == "circuit_open"


class TestABatchThatFails:
    @pytest.fixture
    def version(self, collection: Collection) -> PolicyVersion:
        Gated.gate.clear()
        Gated.waiting.clear()
        return scripted(collection, "raise", name="Gated")

    async def test_is_one_failure_however_many_robots_are_in_it(
        self, robot: httpx.AsyncClient, collection: Collection, version: PolicyVersion, worker: InferenceWorker
    ) -> None:
        first = asyncio.create_task(robot.post(URL, json=observation(collection, robot="first")))
        await asyncio.to_thread(Gated.waiting.wait, 10)
        rest = [
            asyncio.create_task(robot.post(URL, json=observation(collection, robot=f"arm-{n}", instruction="fail")))
            for n in range(8)
        ]
        # Read, decoded, and one batch.
        await come_true(lambda: len(worker._served[version.pk]._batcher._waiting) == 8)
        Gated.gate.set()
        assert (await first).status_code == 200
        assert {response.status_code for response in await asyncio.gather(*rest)} == {502}
        assert int(engine_redis().hget(keys.circuit(version.pk), "failures")) < 5
        assert (await robot.post(URL, json=observation(collection))).status_code == 200


# --- leaving and dying ---


class TestASlowModel:
    @pytest.fixture
    def policy_options(self) -> dict[str, Any]:
        return {"base_ms": 150, "per_sample_ms": 0, "max_batch": 2}

    async def test_a_worker_that_is_stopped_answers_what_it_has_read(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, version: PolicyVersion
    ) -> None:
        asked = [asyncio.create_task(robot.post(URL, json=observation(collection, step=step))) for step in range(2)]
        await come_true(lambda: _pending(version))
        await asyncio.to_thread(worker.stop)
        answered, waiting = await asyncio.wait(asked, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status_code for task in answered} == {200}
        assert version.pk.hex not in loaded_versions()
        for task in waiting:  # it may have come too late to be read
            task.cancel()

    async def test_two_workers_share_the_observations_of_one_version(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, version: PolicyVersion
    ) -> None:
        other = InferenceWorker()
        other.start()
        try:
            await come_true(lambda: loaded_versions().get(version.pk.hex) == 2)
            asked = [asyncio.create_task(robot.post(URL, json=observation(collection, step=step))) for step in range(8)]
            await come_true(lambda: _at_work(version) == {worker.name, other.name})
            assert {response.status_code for response in await asyncio.gather(*asked)} == {200}
        finally:
            await asyncio.to_thread(other.stop)

    async def test_a_version_that_is_retired_answers_what_it_was_asked(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, version: PolicyVersion
    ) -> None:
        asked = [asyncio.create_task(robot.post(URL, json=observation(collection, step=step))) for step in range(6)]
        queue = keys.queue(version.pk)
        await come_true(lambda: engine_redis().xlen(queue) + sum(task.done() for task in asked) >= 6)
        await sync_to_async(services.retire)(policy_version=version)
        assert {response.status_code for response in await asyncio.gather(*asked)} == {200}
        refused = await robot.post(URL, json=observation(collection))
        assert (refused.status_code, refused.json()["code"]) == (503, "no_active_policy")
        await asyncio.to_thread(wait_until, lambda: version.pk.hex not in loaded_versions())

    async def test_what_is_late_is_dropped_before_it_costs_the_model(
        self,
        robot: httpx.AsyncClient,
        collection: Collection,
        worker: InferenceWorker,
        recorder: Recorder,
        version: PolicyVersion,
    ) -> None:
        patient = [observation(collection, step=step) for step in range(2)]
        hurried = [observation(collection, step=10 + step, deadline_ms=40) for step in range(4)]
        first = [asyncio.create_task(robot.post(URL, json=body)) for body in patient]
        await come_true(lambda: _pending(version) + sum(task.done() for task in first) >= len(patient))
        late = await asyncio.gather(*(robot.post(URL, json=body) for body in hurried))
        assert {response.status_code for response in late} == {504}
        assert {response.status_code for response in await asyncio.gather(*first)} == {200}
        assert {result.step for result in await recorded(recorder)} == {0, 1}


def _pending(version: PolicyVersion) -> int:
    """How many observations workers have read and not answered."""
    return sum(consumer["pending"] for consumer in _consumers(version))


def _at_work(version: PolicyVersion) -> set[str]:
    """The workers that have read something and not answered it."""
    return {consumer["name"].decode() for consumer in _consumers(version) if consumer["pending"]}


def _consumers(version: PolicyVersion) -> list[dict[str, Any]]:
    try:
        return list(engine_redis().xinfo_consumers(keys.queue(version.pk), keys.WORKERS_GROUP))
    except ResponseError:  # a worker tells that it has loaded a version a moment before it looks for work
        return []


def queued(collection: Collection, version: PolicyVersion) -> Submission:
    """An observation as the gateway queues it, for nobody in particular."""
    return Submission(
        request_id=uuid.uuid4(),
        collection_slug=collection.slug,
        collection_id=collection.pk,
        version_id=version.pk,
        robot="arm-01",
        episode="e1",
        step=1,
        instruction="pick up the red cube",
        state=[0.1] * 7,
        images={camera: EncodedImage(jpeg(), "jpeg") for camera in collection.cameras},
        deadline_ms=60_000,
        accepted_at=time.time(),
        reply_to="nobody",
        digest=b"d" * 32,
    )


def test_a_queued_submission_reads_back_as_it_was(transactional_db: None) -> None:
    submission = queued(CollectionFactory(), PolicyVersionFactory())
    fields = to_fields(submission)
    pairs = {
        (name.encode() if isinstance(name, str) else name): value
        for name, value in zip(fields[::2], fields[1::2], strict=True)
    }
    assert from_fields(pairs) == submission


def test_what_a_dead_worker_had_read_is_answered_by_another(
    collection: Collection, version: PolicyVersion, worker: InferenceWorker, recorder: Recorder
) -> None:
    client, stream = engine_redis(), keys.queue(version.pk)
    dead = InferenceWorker(name="dead")
    # Read by the dead worker in the same step as it is queued, before the living one can.
    submission = queued(collection, version)
    fields = to_fields(submission)
    pipe = client.pipeline(transaction=True)
    pipe.xadd(stream, {"probe": "0", **dict(zip(fields[::2], fields[1::2], strict=True))})
    pipe.xreadgroup(keys.WORKERS_GROUP, dead.name, {stream: ">"})
    _, read = pipe.execute()
    assert len(read[0][1]) == 1
    announce_change()
    wait_until(lambda: client.hget(keys.answer(submission.request_id), "a"))
    assert client.xpending(stream, keys.WORKERS_GROUP)["pending"] == 0
    recorder.drain()
    assert InferenceResult.objects.get().request_id == submission.request_id
    announce_change()
    wait_until(
        lambda: [c["name"] for c in client.xinfo_consumers(stream, keys.WORKERS_GROUP)] == [worker.name.encode()]
    )


def test_a_version_that_cannot_be_loaded_says_why_and_the_others_serve(
    collection: Collection, version: PolicyVersion, worker: InferenceWorker
) -> None:
    broken = PolicyVersionFactory(backend="python", options={"path": "no.such.module:Policy"}, state="registered")
    services.deploy(policy_version=broken, collection=collection)
    wait_until(lambda: PolicyVersion.objects.filter(pk=broken.pk, state="failed").exists())
    broken.refresh_from_db()
    assert "no.such.module" in broken.state_detail
    assert version.pk.hex in loaded_versions()


# --- the result cache ---


class TestTheResultCache:
    @pytest.fixture
    def collection(self, transactional_db: None) -> Collection:
        return CollectionFactory(cache_enabled=True)

    async def test_answers_the_same_observation_again_and_records_it(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker, recorder: Recorder
    ) -> None:
        first, again, other, unasked = [
            (await robot.post(URL, json=observation(collection, **changes))).json()
            for changes in (
                {"cache": True, "step": 1},
                {"cache": True, "step": 2},
                {"cache": True, "step": 3, "instruction": "put it down"},
                {"step": 4},
            )
        ]
        assert [answer["cached"] for answer in (first, again, other, unasked)] == [False, True, False, False]
        assert again["actions"] == first["actions"]
        assert again["request_id"] != first["request_id"]
        assert [(result.step, result.cached) for result in await recorded(recorder)] == [
            *((1, False), (2, True), (3, False), (4, False))
        ]

    async def test_forgets_when_the_limits_change(
        self, robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
    ) -> None:
        body = observation(collection, cache=True)
        await robot.post(URL, json=body)
        await collection.action_space.dimensions.aupdate(low=-0.001, high=0.001)
        await sync_to_async(snapshots.forget)(collection.slug)
        answer = (await robot.post(URL, json=body)).json()
        assert answer["cached"] is False
        assert max(abs(value) for step in answer["actions"] for value in step) <= 0.001


async def test_a_collection_without_a_cache_has_none(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    answers = [(await robot.post(URL, json=observation(collection, cache=True))).json() for _ in range(2)]
    assert [answer["cached"] for answer in answers] == [False, False]


# --- shadows and shares ---


@pytest.fixture
def shadow(collection: Collection, version: PolicyVersion) -> PolicyVersion:
    options = {"base_ms": 0, "per_sample_ms": 0, "seed": 99}
    return DeploymentFactory(
        collection=collection, role=DeploymentRole.SHADOW, policy_version__options=options
    ).policy_version


@pytest.fixture
def both_loaded(shadow: PolicyVersion, worker: InferenceWorker) -> Iterator[None]:
    wait_until(lambda: shadow.pk.hex in loaded_versions())
    return


async def test_a_shadow_sees_the_same_observation_is_recorded_and_never_heard(
    robot: httpx.AsyncClient,
    collection: Collection,
    version: PolicyVersion,
    shadow: PolicyVersion,
    both_loaded: None,
    recorder: Recorder,
    key: ApiKey,
) -> None:
    answer = (await robot.post(URL, json=observation(collection))).json()
    assert answer["model"]["name"] == version.name
    await asyncio.to_thread(wait_until, lambda: engine_redis().xlen(keys.records()) == 2)
    results = {result.shadow: result for result in await recorded(recorder)}
    sent, unheard = results[False], results[True]
    assert (sent.model_name, unheard.model_name) == (version.name, shadow.name)
    assert (sent.request_id, sent.input_state, sent.instruction, sent.step) == (
        unheard.request_id,
        unheard.input_state,
        unheard.instruction,
        unheard.step,
    )
    assert sent.output_actions == answer["actions"] != unheard.output_actions

    listed = (await robot.get(URL)).json()["results"]
    assert [result["model"]["name"] for result in listed] == [version.name]
    one = (await robot.get(f"{URL}/{answer['request_id']}")).json()
    assert one["actions"] == answer["actions"]
    named = await robot.post(URL, json=observation(collection, model=shadow.name))
    assert named.status_code == 400, "a shadow is not asked by its name alone"


def test_shares_are_near_their_weights_and_an_episode_keeps_its_version(transactional_db: None) -> None:
    collection = CollectionFactory()
    shares = {
        DeploymentFactory(collection=collection, weight=weight).policy_version.name: weight for weight in (60, 30, 10)
    }
    assert Deployment.objects.active().count() == 3
    snapshot = snapshots.get(collection.slug)
    assert snapshot is not None
    chosen = {f"episode-{n}": choose_version(snapshot, model=None, sticky=f"episode-{n}").name for n in range(5000)}
    for name, count in Counter(chosen.values()).items():
        assert count / 50 == pytest.approx(shares[name], abs=3)
    for episode, name in list(chosen.items())[:100]:
        assert choose_version(snapshot, model=None, sticky=episode).name == name
        assert choose_version(snapshot, model=f"{name}@1", sticky="any").name == name


async def test_an_episode_is_answered_by_one_version_from_its_first_step_to_its_last(
    robot: httpx.AsyncClient, collection: Collection, worker: InferenceWorker
) -> None:
    second = (await sync_to_async(DeploymentFactory)(collection=collection)).policy_version
    announce_change()
    await asyncio.to_thread(wait_until, lambda: second.pk.hex in loaded_versions())
    versions: dict[str, set[str]] = {}
    for number in range(12):
        for step in range(3):
            body = observation(collection, episode=f"e{number}", step=step)
            answer = json.loads((await robot.post(URL, json=body)).content)
            versions.setdefault(f"e{number}", set()).add(answer["model"]["name"])
    assert all(len(names) == 1 for names in versions.values())
    assert len(set.union(*versions.values())) == 2
