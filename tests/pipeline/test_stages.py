"""Each stage on its own, on tables that no database made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pyarrow as pa
import pytest

from core.personal_data import patterns
from pipeline.pseudonyms import Pseudonyms
from pipeline.records import RAW_SCHEMA
from pipeline.runs.statistics import RunningStatistics
from pipeline.stages.anomalies import Z_LIMIT, AnomalyReference, DetectAnomalies, feature_matrix
from pipeline.stages.anonymise import Anonymise
from pipeline.stages.base import RecordSpec
from pipeline.stages.features import AddFeatures, QueueLoad
from pipeline.stages.images import CheckImages
from pipeline.stages.validate import Validate
from tests.pipeline.factories import jpeg, jpeg_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPEC = RecordSpec(
    slug="test",
    state_names=("joint_0", "joint_1"),
    action_names=("dx", "grip"),
    action_units=("m", "1"),
    low=np.array([-0.05, 0.0]),
    high=np.array([0.05, 1.0]),
    horizon=2,
    cameras=("base", "wrist"),
    rate_hz=20.0,
    as_of=NOW,
)
MINUTE = int(NOW.timestamp()) // 60 - 60  # the one in which ``table`` begins
LOAD = QueueLoad(minutes=np.array([MINUTE, MINUTE + 2]), results=np.array([240, 17]))
PLAIN = {
    "episode_id": "e1",
    "episode": "episode 1",
    "outcome": "",
    "tags": [],
    "robot": "arm-01",
    "instruction": "pick up the cube",
    "state_json": "[0.1, 0.2]",
    "actions_json": "[[0.01, 0.5], [0.02, 0.5]]",
    "proposed_json": None,
    "corrected_json": None,
    "corrected_by": None,
    "intervention": False,
    "comments": [],
    "verdict": "pass",
    "safety_score": 1.0,
    "violations": "[]",
    "policy_name": "p",
    "policy_version": "1",
    "queue_ms": 1.0,
    "inference_ms": 20.0,
    "total_ms": 24.0,
    "batch_size": 1,
    "images": "{}",
}


def table(*rows: dict) -> pa.Table:
    """A row per argument: ``PLAIN`` with what it changes; a quarter of a second and a step apart."""
    full = [
        {"id": f"r{i}", "request_id": f"q{i}", "step": i, "created_at": NOW - timedelta(hours=1, seconds=-i / 4)}
        | PLAIN
        | row
        for i, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema=RAW_SCHEMA)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"state_json": '{"a": 1}'}, "state_malformed"),
        ({"state_json": '[0.1, "0.2"]'}, "state_malformed"),
        ({"state_json": "[0.1, true]"}, "state_malformed"),
        ({"state_json": "[0.1, null]"}, "state_malformed"),
        ({"state_json": "[0.1]"}, "state_length"),
        ({"actions_json": "[[0.01]]"}, "actions_malformed"),
        ({"actions_json": "[0.01, 0.5]"}, "actions_malformed"),
        ({"actions_json": "null"}, "actions_malformed"),
        ({"actions_json": "[]"}, "actions_empty"),
        ({"proposed_json": "[[1]]"}, "proposed_malformed"),
        ({"corrected_json": "[[0.01]]"}, "correction_malformed"),
        ({"corrected_json": "[[0.2, 0.5]]"}, "correction_beyond_limits"),
        ({"actions_json": "[[0.2, 0.5]]", "verdict": "clamped"}, "actions_beyond_limits"),
        ({"images": '{"kitchen": "raw/x.jpg"}'}, "unknown_camera"),
        ({"images": "[]"}, "images_malformed"),
        ({"created_at": NOW + timedelta(days=1)}, "timestamp_in_future"),
    ],
)
def test_a_bad_record_is_refused_with_its_reason(row, reason):
    output = Validate(SPEC)(table({}, row))

    assert [(r.result_id, r.reason) for r in output.rejections] == [("r1", reason)]
    assert output.table.column("id").to_pylist() == ["r0"]


LIMITED = replace(SPEC, state_limits={"joint_0": [-0.5, 0.5], "joint_1": [None, 1.0]})


@pytest.mark.parametrize("state", ["[0.6, 0.0]", "[-0.6, 0.0]", "[0.0, 1.1]"])
def test_a_state_beyond_its_limits_is_refused(state):
    output = Validate(LIMITED)(table({}, {"state_json": "[0.1]"}, {"state_json": state}))

    assert [r.reason for r in output.rejections] == ["state_length", "state_beyond_limits"]
    assert output.rejections[1].result_id == "r2"


def test_a_refused_state_says_which_entry_and_what_it_may_be():
    (refused,) = Validate(LIMITED)(table({"state_json": "[0.0, 7.5]"})).rejections

    assert refused.detail == "joint_1: 7.5, not -inf to 1"


@pytest.mark.parametrize("state", ["[0.5, 1.0]", "[-0.50001, -900.0]"])
def test_a_state_at_its_limit_is_good(state):
    assert not Validate(LIMITED)(table({"state_json": state})).rejections


def arm(units: str, *, scale: float, steps: int = 12, entries: int = 4) -> pa.Table:
    """What validation makes of an episode whose joints turn by up to one ``scale``."""
    spec = replace(
        SPEC, state_names=tuple(f"joint_{number}" for number in range(entries)), state_units=(units,) * entries
    )
    states = scale * np.sin(np.linspace(0.5, 1.5, steps)[:, None] + np.arange(entries) / 10)
    return Validate(spec)(table(*({"state_json": orjson.dumps(state.tolist()).decode()} for state in states))).table


@pytest.mark.parametrize(
    ("unit", "scale", "other"),
    [("rad", 57.3, "deg"), ("Radians", 57.3, "deg"), ("deg", 1.0, "rad"), ("m", 400.0, "mm"), ("mm", 0.4, "m")],
)
def test_values_that_cannot_be_in_their_unit_are_remarked(unit, scale, other):
    quality = arm(unit, scale=scale).column("quality").to_pylist()

    assert len(quality[0]) == 4
    assert all(quality[0] == remarks for remarks in quality)
    assert quality[0][1].startswith("unit_doubtful: joint_1 [")
    assert quality[0][1].endswith(f"reads like {other}")


@pytest.mark.parametrize(
    ("unit", "scale", "entries"),
    [("rad", 3.0, 4), ("deg", 57.3, 4), ("deg", 1.0, 2), ("m", 0.4, 4), ("mm", 400.0, 4), ("", 1e6, 4), ("V", 1e6, 4)],
)
def test_values_that_may_be_in_their_unit_are_not(unit, scale, entries):
    assert not any(arm(unit, scale=scale, entries=entries).column("quality").to_pylist())


def test_actions_that_cannot_be_in_their_unit_are_remarked():
    spec = replace(SPEC, action_units=("m", "1"))

    quality = Validate(spec)(table({"actions_json": "[[120.0, 0.5], [140.0, 0.5]]"})).table.column("quality")

    assert quality.to_pylist() == [["unit_doubtful: dx [m] reads like mm"]]


def test_good_records_become_numbers():
    output = Validate(SPEC)(table({"corrected_json": "[[0.03, 1.0]]", "images": '{"base": "k"}'}))

    (row,) = output.table.to_pylist(maps_as_pydicts="strict")
    assert row["state"] == [0.1, 0.2]
    assert row["actions"] == [[0.01, 0.5], [0.02, 0.5]]
    assert row["proposed_actions"] is None
    assert row["corrected_actions"] == [[0.03, 1.0]]
    assert row["images"] == {"base": "k"}
    assert row["quality"] == ["camera_missing"]


def test_a_rejected_chunk_may_be_empty():
    assert not Validate(SPEC)(table({"verdict": "rejected", "actions_json": "[]"})).rejections


def test_the_same_step_twice_is_refused_once():
    output = Validate(SPEC)(table({"step": 3}, {"step": 3}, {"step": 3, "episode_id": "e2"}))

    assert [(r.result_id, r.reason) for r in output.rejections] == [("r1", "duplicate_step")]


def test_gaps_are_remarked():
    rows = [{} for _ in range(8)] + [{"step": 20, "created_at": NOW - timedelta(minutes=5)}]

    quality = Validate(SPEC)(table(*rows)).table.column("quality").to_pylist()

    assert quality[8] == ["gap_in_time", "steps_missing"]
    assert not any(quality[:8])


def test_a_robot_that_carries_out_four_steps_of_each_chunk_misses_none():
    steps = [0, 4, 8, 12, 15, 19, 24, 32, 36]

    quality = Validate(SPEC)(table(*({"step": step} for step in steps))).table.column("quality").to_pylist()

    assert [step for step, remarks in zip(steps, quality, strict=True) if remarks] == [32]
    assert quality[steps.index(32)] == ["steps_missing"]


def reference(rows: int = 200) -> AnomalyReference:
    random = np.random.default_rng(1)
    states = random.normal(0.0, 0.1, size=(rows, 2))
    made = table(*({"state_json": orjson.dumps(state.tolist()).decode()} for state in states))
    return AnomalyReference(feature_matrix(Validate(SPEC)(made).table, SPEC))


def test_an_outlier_is_found_and_explained():
    detect = DetectAnomalies(SPEC, reference())
    rows = Validate(SPEC)(table({"state_json": "[0.0, 9.0]"}, {"state_json": "[0.05, -0.05]"})).table

    found = detect(rows).table

    assert found.column("anomalous").to_pylist() == [True, False]
    assert found.column("anomaly_reasons").to_pylist()[0][0].startswith("state.joint_1 z=+")


def test_a_reach_of_a_robot_that_mostly_rests_is_within_the_limit_and_a_jump_beyond_it_is_not():
    """A sixth of the records move; by the median deviation alone every one of them would stand out."""
    random = np.random.default_rng(2)
    moves = np.where(np.arange(200) % 6 == 0, random.normal(0.0, 1.0, 200), random.normal(0.0, 0.001, 200))
    made = Validate(SPEC)(table(*({"state_json": f"[{move:.6f}, 0.0]"} for move in moves))).table
    judge = AnomalyReference(feature_matrix(made, SPEC))
    jump = Validate(SPEC)(table({"state_json": "[9.0, 0.0]"})).table

    furthest = np.abs((judge.sample - judge.center) / judge.scale).max()

    assert furthest < Z_LIMIT
    assert (
        DetectAnomalies(SPEC, judge)(jump)
        .table.column("anomaly_reasons")
        .to_pylist()[0][0]
        .startswith("state.joint_0 z=+")
    )


def test_anomalies_are_judged_the_same_each_time():
    rows = Validate(SPEC)(table(*({"state_json": f"[{i / 10}, 0.0]"} for i in range(10)))).table

    first, second = (DetectAnomalies(SPEC, reference())(rows).table for _ in range(2))

    assert first.equals(second)


def test_without_enough_records_nothing_is_judged():
    rows = Validate(SPEC)(table({})).table

    found = DetectAnomalies(SPEC, reference(5))(rows).table

    assert found.column("anomaly_score").to_pylist() == [None]
    assert found.column("anomalous").to_pylist() == [False]


SEEDED = {
    "EMAIL_ADDRESS": "anna.smith@example.org",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "IBAN_CODE": "DE89 3704 0044 0532 0130 00",
    "IP_ADDRESS": "192.0.2.17",
    "PHONE_NUMBER": "+49 30 901820",
}


@pytest.mark.parametrize("kind", SEEDED)
@pytest.mark.parametrize("column", ["instruction", "robot", "episode", "tags", "comments", "value"])
def test_seeded_personal_data_leaves_no_text(kind, column):
    secret = SEEDED[kind]
    row = {
        "tags": {"tags": [f"by {secret}"]},
        "comments": {"comments": [f"call {secret} please"]},
        "value": {"violations": orjson.dumps([{"rule": [f"said {secret}"]}]).decode()},
    }.get(column, {column: f"give it to {secret} now"})
    stage = Anonymise(Pseudonyms(b"k" * 32), patterns.detect)

    output = stage(Validate(SPEC)(table(row)).table)

    assert secret not in str(output.table.to_pylist())
    assert output.counts[kind] == 1


def test_a_field_that_violations_do_not_have_leaves_neither_its_name_nor_its_value():
    """Its name may be a person's, which no pattern knows."""
    found = [{"rule": "position", "limit": 1.0, "Maria Lopez": {"Pedro Lopez": "Ana Lopez"}}]
    stage = Anonymise(Pseudonyms(b"k" * 32), patterns.detect)

    output = stage(Validate(SPEC)(table({"violations": orjson.dumps(found).decode()})).table)
    again = stage(output.table)

    (published,) = output.table.column("violations").to_pylist()
    assert orjson.loads(published) == [{"rule": "position", "limit": 1.0, "<UNKNOWN_FIELD>": None}]
    assert output.counts == again.counts == {"UNKNOWN_FIELD": 1}
    assert again.table.equals(output.table)


def test_people_are_pseudonyms_that_are_stable_and_keyed():
    rows = table({"corrected_by": "user-1"}, {"corrected_by": "user-1"}, {"corrected_by": "user-2"}, {})
    rows = Validate(SPEC)(rows).table

    names = Anonymise(Pseudonyms(b"a" * 32), patterns.detect)(rows).table.column("corrected_by").to_pylist()
    elsewhere = Anonymise(Pseudonyms(b"b" * 32), patterns.detect)(rows).table.column("corrected_by").to_pylist()

    assert names[0] == names[1] != names[2]
    assert names[3] is None
    assert not set(names) & set(elsewhere) - {None}
    assert "user-1" not in names[0]


IMAGES = {
    "one.jpg": jpeg(64, 48, shade=10),
    "two.jpg": jpeg(64, 48, shade=90),
    "black.jpg": jpeg_of(np.zeros((48, 64, 3), dtype=np.uint8)),
    "broken.jpg": jpeg(64, 48)[:400],
    "text.jpg": b"hello",
}


def check_images(*keys: str, moving: bool = True):
    rows = [
        {"images": orjson.dumps({"base": key}).decode(), "state_json": f"[{i * moving}, 0.0]"}
        for i, key in enumerate(keys)
    ]

    def fetch(key: str) -> bytes:
        if key not in IMAGES:
            raise FileNotFoundError(key)
        return IMAGES[key]

    return CheckImages(SPEC, fetch)(Validate(SPEC)(table(*rows)).table)


@pytest.mark.parametrize("key", ["broken.jpg", "text.jpg", "gone.jpg"])
def test_an_image_that_cannot_be_read_sends_its_record_to_quarantine(key):
    output = check_images("one.jpg", key, "two.jpg")

    assert [(r.result_id, r.reason) for r in output.rejections] == [("r1", "image_unreadable")]
    assert output.table.column("id").to_pylist() == ["r0", "r2"]


def test_a_black_camera_is_remarked():
    quality = check_images("one.jpg", "black.jpg").table.column("quality").to_pylist()

    assert "camera_black" not in quality[0]
    assert "camera_black" in quality[1]


def test_a_camera_is_frozen_when_the_robot_moves_and_the_picture_does_not():
    quality = check_images("one.jpg", "one.jpg", "two.jpg").table.column("quality").to_pylist()

    assert ["camera_frozen" in remarks for remarks in quality] == [False, True, False]


def test_a_robot_that_stands_still_may_show_the_same_picture():
    quality = check_images("one.jpg", "one.jpg", moving=False).table.column("quality").to_pylist()

    assert not any("camera_frozen" in remarks for remarks in quality)


def test_a_picture_that_comes_again_while_the_robot_is_elsewhere_is_remarked():
    quality = check_images("one.jpg", "two.jpg", "one.jpg", "two.jpg").table.column("quality").to_pylist()

    assert ["image_repeated" in remarks for remarks in quality] == [False, False, True, True]
    assert not any("camera_frozen" in remarks for remarks in quality)


def test_a_picture_may_come_again_where_the_robot_is_again():
    quality = check_images("one.jpg", "two.jpg", "one.jpg", moving=False).table.column("quality").to_pylist()

    assert not any("image_repeated" in remarks for remarks in quality)


def test_two_cameras_with_one_picture_are_remarked():
    images = [{"base": "one.jpg", "wrist": "two.jpg"}, {"base": "two.jpg", "wrist": "two.jpg"}]
    rows = [{"images": orjson.dumps(keys).decode(), "state_json": f"[{i}, 0.0]"} for i, keys in enumerate(images)]

    output = CheckImages(SPEC, IMAGES.__getitem__)(Validate(SPEC)(table(*rows)).table)

    quality = output.table.column("quality").to_pylist()
    assert ["cameras_alike" in remarks for remarks in quality] == [False, True]
    assert output.counts["cameras_alike"] == 1


def test_an_episodes_features_are_its_own():
    states = [[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [6.0, 8.0]]
    rows = [{"state_json": orjson.dumps(state).decode(), "outcome": "success"} for state in states]
    rows[2]["corrected_json"] = "[[0.01, 0.5]]"
    other = {"episode_id": "e2", "outcome": "failure"}

    found = AddFeatures(SPEC, LOAD)(Validate(SPEC)(table(*rows, other)).table).table.to_pylist()

    assert found[0]["episode_length"] == 4
    assert found[0]["episode_seconds"] == 0.75
    assert found[0]["path_length"] == pytest.approx(10.0)
    assert found[0]["idle_share"] == pytest.approx(1 / 3)
    assert found[0]["interventions"] == 1
    assert found[0]["success"] is True
    assert (found[4]["episode_length"], found[4]["success"], found[4]["path_length"]) == (1, False, 0.0)


def test_features_of_a_record_without_an_episode_are_unknown():
    (row,) = AddFeatures(SPEC, LOAD)(Validate(SPEC)(table({"episode_id": None})).table).table.to_pylist()

    assert row["episode_length"] is None
    assert row["success"] is None
    assert row["hour_of_day"] == 11


def test_the_load_of_the_queue_is_that_of_the_records_minute():
    rows = [{"created_at": NOW - timedelta(minutes=60 - minute, seconds=-1)} for minute in (0, 1, 2, 3)]

    found = AddFeatures(SPEC, LOAD)(Validate(SPEC)(table(*rows)).table).table

    assert found.column("queue_load").to_pylist() == [240, 0, 17, 0]


def test_every_stage_takes_an_empty_table():
    empty = table()
    for stage in (
        Validate(SPEC),
        DetectAnomalies(SPEC, reference()),
        Anonymise(Pseudonyms(b"k" * 32), patterns.detect),
        AddFeatures(SPEC, LOAD),
    ):
        empty = stage(empty).table
    assert empty.num_rows == 0


def test_statistics_in_batches_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(1e6, 1e-3, size=(1000, 2))
    running = RunningStatistics(("a", "b"))
    for part in np.array_split(values, 7):
        running.add(part)

    report = running.report()

    assert np.allclose(report["mean"], values.mean(axis=0))
    assert np.allclose(report["std"], values.std(axis=0), rtol=1e-3)
    assert report["min"] == values.min(axis=0).tolist()
