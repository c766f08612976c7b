"""The recorder and the results that it leaves: once each, whole, and only for those who may see them."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import structlog
import time_machine
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.choices import Role
from accounts.models import ApiKey
from collections_app.models import Collection, Episode, Robot
from core import object_store
from core.identifiers import uuid7
from core.redis import engine_redis
from inference.engine import keys
from inference.engine.submission import EncodedImage, Image, RawImage, Submission, to_fields
from inference.images import decode
from inference.models import InferenceRequest, InferenceResult, PolicyVersion
from inference.recorder import Recorder
from inference.results import answer_body
from inference.signals import results_recorded
from tests.factories import ApiKeyFactory, InferenceResultFactory, MembershipFactory, UserFactory
from tests.inference.conftest import jpeg
from tests.inference.waiting import wait_until

URL = "/api/v1/inference"
ACTIONS = [[0.1] * 7] * 8
Client = Callable[..., APIClient]


def answered(collection: Collection, version: PolicyVersion, **changes: Any) -> Submission:
    """Puts one answered observation before the recorder, as the worker's script does."""
    request_id = changes.pop("request_id", None) or uuid7()
    images: dict[str, Image] = {camera: EncodedImage(jpeg(), "jpeg") for camera in collection.cameras}
    described: dict[str, Any] = {
        "collection_id": collection.pk,
        "robot": "arm-01",
        "episode": "e1",
        "step": 1,
        "instruction": "pick up the red cube",
        "state": [0.1] * 7,
        "images": images,
        "deadline_ms": 5000,
        "accepted_at": time.time(),
        "reply_to": "",
        "digest": b"d" * 32,
    }
    submission = Submission(
        request_id=request_id,
        collection_slug=collection.slug,
        version_id=version.pk,
        **{**described, **changes},
    )
    body = answer_body(
        request_id=request_id,
        actions=ACTIONS,
        model_name=version.name,
        model_version=version.version,
        safety={"score": 1.0, "verdict": "pass", "violations": []},
        cached=False,
        timing={"queue_ms": 0.4, "inference_ms": 21.0, "total_ms": 24.0, "batch_size": 1},
    )
    given = to_fields(submission)
    fields = dict(zip(given[::2], given[1::2], strict=True))
    extra = json.dumps({"proposed": None, "confidence": None})
    client = engine_redis()
    if not submission.is_shadow:
        client.hset(keys.answer(request_id), mapping={"d": submission.digest, "a": body})
    client.xadd(keys.records(), {"answer": body, "extra": extra, "bytes": "1000", **fields})
    client.incrby(keys.backlog(), 1000)
    return submission


# --- what one record leaves ---


def test_a_record_is_a_row_objects_a_ledger_entry_a_robot_and_an_episode(
    collection: Collection, version: PolicyVersion, recorder: Recorder
) -> None:
    told: list[dict[str, Any]] = []

    def listen(**news: Any) -> None:
        told.append(news)

    results_recorded.connect(listen)
    submission = answered(collection, version)
    try:
        assert recorder.drain() == 1
    finally:
        results_recorded.disconnect(listen)

    result = InferenceResult.objects.select_related("robot", "episode").get()
    assert result.request_id == submission.request_id
    assert (result.output_actions, result.proposed_actions) == (ACTIONS, None)
    assert (result.inference_time_ms, result.safety_verdict, result.shadow) == (21.0, "pass", False)
    assert (result.robot.name, result.episode.external_id, result.step) == ("arm-01", "e1", 1)
    assert abs(result.created_at.timestamp() - submission.accepted_at) < 0.001
    assert bytes(InferenceRequest.objects.get(pk=submission.request_id).digest) == submission.digest
    folder = f"raw/{result.created_at:%Y-%m-%d}/collection_{collection.slug}/{submission.request_id}"
    assert result.images == {camera: f"{folder}/{camera}.jpg" for camera in collection.cameras}
    assert object_store.get(result.images["base"]) == jpeg()
    document = json.loads(object_store.get(f"{folder}/record.json"))
    assert (document["actions"], document["instruction"]) == (ACTIONS, "pick up the red cube")
    assert told == [
        {
            "signal": results_recorded,
            "sender": Recorder,
            "collection_id": collection.pk,
            "result_ids": [result.pk],
        }
    ]
    assert engine_redis().xlen(keys.records()) == 0
    assert int(engine_redis().get(keys.backlog())) == 0


def test_raw_pixels_are_kept_as_a_picture(collection: Collection, version: PolicyVersion, recorder: Recorder) -> None:
    pixels = np.full((30, 40, 3), (200, 40, 40), np.uint8)
    images = {"base": RawImage(pixels.tobytes(), 30, 40), "wrist": EncodedImage(jpeg(), "jpeg")}
    answered(collection, version, images=images)
    recorder.drain()
    stored = InferenceResult.objects.get().images
    assert stored["base"].endswith("/base.jpg")
    seen = decode(object_store.get(stored["base"]))
    assert seen.shape == (30, 40, 3)
    np.testing.assert_allclose(seen, pixels, atol=6)


def test_an_episode_grows_with_its_steps(collection: Collection, version: PolicyVersion, recorder: Recorder) -> None:
    now = time.time()
    for batch in ([0, 1, 2], [3, 4]):
        for step in batch:
            answered(collection, version, step=step, accepted_at=now + step)
        recorder.drain()
    answered(collection, version, robot="arm-02", accepted_at=now)
    recorder.drain()
    episode = Episode.objects.get(robot__name="arm-01")
    assert (episode.step_count, episode.instruction) == (5, "pick up the red cube")
    assert episode.ended_at == episode.started_at + timedelta(seconds=4)
    assert Robot.objects.get(name="arm-01").last_seen_at == episode.ended_at
    assert Episode.objects.get(robot__name="arm-02").step_count == 1


def test_a_record_without_robot_and_episode_has_none(
    collection: Collection, version: PolicyVersion, recorder: Recorder
) -> None:
    answered(collection, version, robot="", episode="", step=None)
    recorder.drain()
    result = InferenceResult.objects.get()
    assert (result.robot, result.episode, result.step) == (None, None, None)


# --- once, whatever happens ---


def test_the_same_record_twice_is_one_row(collection: Collection, version: PolicyVersion, recorder: Recorder) -> None:
    submission = answered(collection, version)
    answered(collection, version, request_id=submission.request_id)
    recorder.drain()
    answered(collection, version, request_id=submission.request_id)
    recorder.drain()
    assert InferenceResult.objects.count() == InferenceRequest.objects.count() == 1
    assert Episode.objects.get().step_count == 1


def test_a_crash_between_rows_and_acknowledgement_is_healed(
    collection: Collection, version: PolicyVersion, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = answered(collection, version)

    def crash(**_arguments: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "_settle", crash)
        with pytest.raises(SystemExit):
            recorder.drain()
    assert InferenceResult.objects.count() == 1
    assert engine_redis().hget(keys.answer(submission.request_id), "a") is not None

    again = Recorder(name=recorder.name)  # the same process, started again, reads first what it had not acknowledged
    again.start()
    _wait_for_an_empty_stream()
    again.stop()
    assert InferenceResult.objects.count() == 1
    assert engine_redis().hgetall(keys.answer(submission.request_id)) == {b"d": submission.digest, b"r": b"1"}


def test_what_a_dead_recorder_held_is_recorded_by_another(
    collection: Collection, version: PolicyVersion, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.recorder._CLAIM_IDLE_MS", 0)
    submission = answered(collection, version)
    recorder._ensure_group()
    engine_redis().xreadgroup(keys.RECORDERS_GROUP, "dead", {keys.records(): ">"})
    other = Recorder()
    other.start()
    _wait_for_an_empty_stream()
    other.stop()
    assert InferenceResult.objects.get().request_id == submission.request_id


def test_two_recorders_at_once_write_everything_once(
    collection: Collection, version: PolicyVersion, recorder: Recorder, settings: Any
) -> None:
    settings.INFERENCE = {**settings.INFERENCE, "RECORDER_BATCH": 5}
    expected = {answered(collection, version, step=step, robot=f"arm-{step % 4}").request_id for step in range(60)}
    recorders = [Recorder(), Recorder()]
    for one in recorders:
        one.start()
    _wait_for_an_empty_stream()
    for one in recorders:
        one.stop()
    assert set(InferenceResult.objects.values_list("request_id", flat=True)) == expected
    assert InferenceResult.objects.count() == 60
    assert sum(Episode.objects.values_list("step_count", flat=True)) == 60
    assert int(engine_redis().get(keys.backlog())) == 0


def test_records_of_a_collection_that_is_gone_are_dropped_with_a_warning(
    collection: Collection, version: PolicyVersion, recorder: Recorder
) -> None:
    kept = answered(collection, version)
    gone = answered(collection, version, collection_id=uuid.uuid4())
    with structlog.testing.capture_logs() as logs:
        recorder.drain()
    assert [(log["event"], log["records"]) for log in logs] == [("recorder.collection_gone", 1)]
    assert InferenceResult.objects.get().request_id == kept.request_id
    assert engine_redis().xlen(keys.records()) == 0
    assert not InferenceRequest.objects.filter(pk=gone.request_id).exists()


def test_a_shadow_is_recorded_once_and_never_counts_as_the_answer(
    collection: Collection, version: PolicyVersion, recorder: Recorder, api: Client, key: ApiKey
) -> None:
    submission = answered(collection, version)
    for _ in range(2):
        answered(collection, version, request_id=submission.request_id, is_shadow=True)
        recorder.drain()
    assert sorted(InferenceResult.objects.values_list("shadow", flat=True)) == [False, True]
    assert Episode.objects.get().step_count == 1
    assert InferenceRequest.objects.count() == 1
    assert len(api(key).get(URL).json()["results"]) == 1


# --- reading the results ---


def test_a_result_reads_before_and_after_it_is_recorded(
    collection: Collection, version: PolicyVersion, recorder: Recorder, api: Client, key: ApiKey
) -> None:
    submission = answered(collection, version)
    late = Recorder()
    later = threading.Timer(0.2, late.start)
    later.start()
    early = api(key).get(f"{URL}/{submission.request_id}")
    later.join()
    late.stop()
    assert early.status_code == 200
    body = early.json()
    assert body.keys() == {
        *("request_id", "collection", "robot", "episode", "step", "instruction", "state", "images", "actions"),
        *("safety", "model", "timing", "created_at"),
    } | (body.keys() & {"cached", "proposed_actions", "confidence"})
    assert (body["robot"], body["episode"], body["collection"]) == ("arm-01", "e1", collection.slug)
    assert body["model"] == {"name": version.name, "version": version.version}
    assert api(key).get(f"{URL}/{submission.request_id}").json()["actions"] == ACTIONS


def test_an_unknown_request_is_not_waited_for(api: Client, key: ApiKey) -> None:
    started = time.monotonic()
    for request_id in (uuid.uuid4(), "-" * 36):
        response = api(key).get(f"{URL}/{request_id}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert time.monotonic() - started < 2


def test_image_links_open_without_further_credentials_and_expire(
    collection: Collection, version: PolicyVersion, recorder: Recorder, api: Client, key: ApiKey
) -> None:
    submission = answered(collection, version)
    recorder.drain()
    link = api(key).get(f"{URL}/{submission.request_id}").json()["images"]["base"]
    opened = api(key).get(link)
    assert (opened.status_code, opened["Content-Type"]) == (200, "image/jpeg")
    assert b"".join(opened.streaming_content) == jpeg()
    assert api(key).get(link[:-3] + "abc").status_code == 404
    with time_machine.travel(timezone.now() + timedelta(seconds=601)):
        assert api(key).get(link).status_code == 404


def test_only_those_who_may_read_the_collection_see_a_result(collection: Collection, api: Client, key: ApiKey) -> None:
    result = InferenceResultFactory(collection=collection)
    member = MembershipFactory(collection=collection, role=Role.VIEWER).user
    stranger, foreign_member = UserFactory(), MembershipFactory().user
    foreign_key, writer = ApiKeyFactory(), ApiKeyFactory(collections=[collection], scopes=["inference:write"])
    for principal, status in ((key, 200), (member, 200), (stranger, 404), (foreign_member, 404), (foreign_key, 404)):
        assert api(principal).get(f"{URL}/{result.request_id}").status_code == status
    assert api(writer).get(f"{URL}/{result.request_id}").status_code in (403, 404)
    assert api().get(f"{URL}/{result.request_id}").status_code == 401
    assert api(stranger).get(URL).json()["results"] == []
    assert len(api(member).get(URL).json()["results"]) == 1


def test_results_are_filtered_and_paged_newest_first(collection: Collection, api: Client, key: ApiKey) -> None:
    now = timezone.now()
    results = [
        InferenceResultFactory(
            collection=collection,
            robot__name=f"arm-{number}",
            episode__external_id=f"e{number}",
            policy_version__name=f"policy-of-{number}",
            safety_verdict="clamped" if number == 2 else "pass",
            created_at=now - timedelta(minutes=number),
        )
        for number in range(3)
    ]
    InferenceResultFactory()  # of another collection

    def found(**query: str) -> list[int]:
        listed = api(key).get(URL, query).json()["results"]
        return [[str(result.request_id) for result in results].index(one["request_id"]) for one in listed]

    assert found() == found(collection=collection.slug) == [0, 1, 2]
    assert (
        found(robot="arm-1") == found(episode="e1") == found(model="policy-of-1") == found(model="policy-of-1@1") == [1]
    )
    assert found(model="policy-of-1@2") == found(collection="nowhere") == []
    assert found(verdict="clamped") == [2]
    middle = results[1].created_at.isoformat()
    assert found(created_after=middle) == [0, 1]
    assert found(created_before=middle) == [2]
    assert api(key).get(URL, {"verdict": "dangerous"}).status_code == 400
    assert api(key).get(URL, {"created_after": "yesterday"}).status_code == 400


def _wait_for_an_empty_stream() -> None:
    wait_until(lambda: engine_redis().xlen(keys.records()) == 0)
